import torch; from transformers import AutoConfig, AutoModel
torch.manual_seed(0)
config = AutoConfig.for_model('paligemma', **{'vision_config': {'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'num_channels': 3, 'image_size': 48, 'patch_size': 16, 'hidden_act': 'gelu_pytorch_tanh', 'layer_norm_eps': 1e-06, 'attention_dropout': 0.0, 'vision_use_head': True, 'projection_dim': 32, 'model_type': 'siglip_vision_model'}, 'text_config': {'vocab_size': 160, 'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'num_key_value_heads': 4, 'head_dim': 8, 'hidden_act': 'gelu_pytorch_tanh', 'max_position_embeddings': 128, 'initializer_range': 0.02, 'rms_norm_eps': 1e-06, 'use_cache': True, 'pad_token_id': 0, 'eos_token_id': 1, 'bos_token_id': 2, 'tie_word_embeddings': True, 'rope_parameters': {'rope_theta': 10000.0, 'rope_type': 'default'}, 'attention_bias': False, 'attention_dropout': 0.0, 'use_bidirectional_attention': True, 'num_image_tokens': 9, 'model_type': 'gemma'}, 'image_token_index': 256000, 'vocab_size': 160, 'projection_dim': 32, 'hidden_size': 32, 'tie_word_embeddings': True})
model = AutoModel.from_config(config, attn_implementation='eager').eval()
torch.manual_seed(0)
for name, p in model.named_parameters():
    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std=1.7 / max(p.shape[-1], 8) ** 0.5)
    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)
def run(implementation, **inputs):
    model.set_attn_implementation(implementation)
    with torch.no_grad(): return model(**inputs)['last_hidden_state']
a = run('sdpa', input_ids=torch.tensor([[38,79,139,64,91,141,131,149,45,25,15,76,140,11,36,122,66,148,38,71],[38,79,139,64,91,141,131,149,45,25,15,76,140,11,36,122,66,148,38,71]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]]))
b = run('sdpa', input_ids=torch.tensor([[38,79,139,64,91,141,131,149,45,25,136,135,104,24,90,19,133,57,110,83],[38,79,139,64,91,141,131,149,45,25,136,135,104,24,90,19,133,57,110,83]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]]))
print('difference of outputs that should be equal:', (a[1, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]] - b[1, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]).abs().max().item())
