import torch; from transformers import AutoConfig, AutoModelForCausalLM
torch.manual_seed(0)
config = AutoConfig.for_model('prophetnet', **{'is_encoder_decoder': True, 'activation_dropout': 0.1, 'activation_function': 'gelu', 'vocab_size': 160, 'hidden_size': 32, 'encoder_ffn_dim': 64, 'num_encoder_layers': 2, 'num_encoder_attention_heads': 16, 'decoder_ffn_dim': 64, 'num_decoder_layers': 2, 'num_decoder_attention_heads': 16, 'attention_dropout': 0.1, 'dropout': 0.1, 'max_position_embeddings': 128, 'init_std': 0.02, 'add_cross_attention': True, 'decoder_start_token_id': 0, 'ngram': 2, 'num_buckets': 32, 'relative_max_distance': 128, 'disable_ngram_loss': False, 'eps': 0.0, 'use_cache': True, 'pad_token_id': 0, 'bos_token_id': 1, 'eos_token_id': 2, 'is_decoder': True, 'tie_word_embeddings': True})
model = AutoModelForCausalLM.from_config(config, attn_implementation='eager').eval()
torch.manual_seed(0)
for name, p in model.named_parameters():
    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std=1.7 / max(p.shape[-1], 8) ** 0.5)
    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)
def run(implementation, **inputs):
    with torch.no_grad(): return model(**inputs)['logits']
a = run('', input_ids=torch.tensor([[11,54,85,57,48,52,46,95,107,67,152,20,75,144,24,70,128,90,138,41],[15,154,44,143,73,18,26,101,79,92,38,54,16,0,0,0,0,0,0,0]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[1,1,1,1,1,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0]]))
b = run('', input_ids=torch.tensor([[15,154,44,143,73,18,26,101,79,92,38,54,16]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1]]))
print('difference of outputs that should be equal:', (a[1, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]] - b[0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]]).abs().max().item())
