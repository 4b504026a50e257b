import torch; from transformers import AutoConfig, AutoModelForSeq2SeqLM
torch.manual_seed(0)
config = AutoConfig.for_model('longt5', **{'is_encoder_decoder': True, 'vocab_size': 160, 'd_model': 32, 'd_kv': 8, 'd_ff': 64, 'num_layers': 2, 'num_decoder_layers': 2, 'num_heads': 4, 'local_radius': 127, 'global_block_size': 16, 'relative_attention_num_buckets': 32, 'relative_attention_max_distance': 128, 'dropout_rate': 0.1, 'layer_norm_epsilon': 1e-06, 'initializer_factor': 1.0, 'feed_forward_proj': 'relu', 'encoder_attention_type': 'local', 'use_cache': True, 'pad_token_id': 0, 'eos_token_id': 1, 'bos_token_id': None, 'is_decoder': False, 'tie_word_embeddings': True, 'dense_act_fn': 'relu', 'is_gated_act': False, 'scale_decoder_outputs': True, 'decoder_start_token_id': 5})
model = AutoModelForSeq2SeqLM.from_config(config, attn_implementation='eager').eval()
torch.manual_seed(0)
for name, p in model.named_parameters():
    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std=1.7 / max(p.shape[-1], 8) ** 0.5)
    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)
model.double()
model.to(torch.float16)
def run(implementation, **inputs):
    model.set_attn_implementation(implementation)
    with torch.no_grad(): return model(**inputs)['logits']
a = run('eager', input_ids=torch.tensor([[45,141,118,87,149,135,127,30,93,119,102,152,25,148,110,91,94,75,126,137],[83,9,66,72,9,117,55,95,83,72,136,117,32,0,0,0,0,0,0,0]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[1,1,1,1,1,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0]]), decoder_input_ids=torch.tensor([[31,81,119,32,65,38,128,74,13],[31,81,119,32,65,38,128,74,13]]))
b = run('eager', input_ids=torch.tensor([[83,9,66,72,9,117,55,95,83,72,136,117,32]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1]]), decoder_input_ids=torch.tensor([[31,81,119,32,65,38,128,74,13]]))
print('difference of outputs that should be equal:', (a[1, [0, 1, 2, 3, 4, 5, 6, 7, 8]] - b[0, [0, 1, 2, 3, 4, 5, 6, 7, 8]]).abs().max().item())
