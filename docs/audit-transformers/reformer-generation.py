import torch; from transformers import AutoConfig, AutoModelForCausalLM
torch.manual_seed(0)
config = AutoConfig.for_model('reformer', **{'attention_head_size': 8, 'attn_layers': ['local', 'lsh', 'local', 'lsh', 'local', 'lsh'], 'axial_norm_std': 1.0, 'axial_pos_embds': False, 'axial_pos_shape': [64, 64], 'axial_pos_embds_dim': [64, 192], 'chunk_size_lm_head': 0, 'eos_token_id': 2, 'feed_forward_size': 512, 'hash_seed': None, 'hidden_act': 'relu', 'hidden_dropout_prob': 0.05, 'hidden_size': 32, 'initializer_range': 0.02, 'is_decoder': True, 'layer_norm_eps': 1e-12, 'local_num_chunks_before': 1, 'local_num_chunks_after': 0, 'local_attention_probs_dropout_prob': 0.05, 'local_attn_chunk_length': 64, 'lsh_attn_chunk_length': 64, 'lsh_attention_probs_dropout_prob': 0.0, 'lsh_num_chunks_before': 1, 'lsh_num_chunks_after': 0, 'max_position_embeddings': 128, 'num_attention_heads': 4, 'num_buckets': None, 'num_hashes': 1, 'vocab_size': 160, 'tie_word_embeddings': False, 'use_cache': True, 'classifier_dropout': None, 'bos_token_id': None, 'pad_token_id': 0, 'num_hidden_layers': 2})
model = AutoModelForCausalLM.from_config(config, attn_implementation='eager').eval()
torch.manual_seed(0)
for name, p in model.named_parameters():
    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std=1.7 / max(p.shape[-1], 8) ** 0.5)
    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)
model.double()
a = model.generate(input_ids=torch.tensor([[11,54,85,57,48,52,46,95,107,67,152,20,75,144,24,70,128,90,138,41],[0,0,0,0,0,0,0,15,154,44,143,73,18,26,101,79,92,38,54,16]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1,1,1,1,1]]), max_new_tokens=6, min_new_tokens=6, do_sample=False, use_cache=True, output_logits=True, return_dict_in_generate=True).logits
b = model.generate(input_ids=torch.tensor([[15,154,44,143,73,18,26,101,79,92,38,54,16]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1]]), max_new_tokens=6, min_new_tokens=6, do_sample=False, use_cache=True, output_logits=True, return_dict_in_generate=True).logits
print('difference of scores by step:', [(x[1] - y[0]).abs().max().item() for x, y in zip(a, b)])
