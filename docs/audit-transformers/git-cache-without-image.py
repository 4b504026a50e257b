import torch; from transformers import AutoConfig, AutoModelForCausalLM
torch.manual_seed(0)
config = AutoConfig.for_model('git', **{'vision_config': {'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'num_channels': 3, 'image_size': 48, 'patch_size': 16, 'hidden_act': 'quick_gelu', 'layer_norm_eps': 1e-05, 'attention_dropout': 0.0, 'initializer_range': 0.02, 'model_type': 'git_vision_model'}, 'vocab_size': 160, 'hidden_size': 32, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'intermediate_size': 64, 'hidden_act': 'gelu', 'hidden_dropout_prob': 0.1, 'attention_probs_dropout_prob': 0.1, 'max_position_embeddings': 128, 'initializer_range': 0.02, 'layer_norm_eps': 1e-12, 'pad_token_id': 0, 'use_cache': True, 'tie_word_embeddings': False, 'bos_token_id': 101, 'eos_token_id': 102, 'num_image_with_embedding': None})
model = AutoModelForCausalLM.from_config(config, attn_implementation='eager').eval()
torch.manual_seed(0)
for name, p in model.named_parameters():
    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std=1.7 / max(p.shape[-1], 8) ** 0.5)
    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)
model.double()
def run(implementation, cuts, **inputs):
    model.set_attn_implementation(implementation)
    parts, cache, n = [], None, inputs['input_ids'].shape[1]
    for i, j in zip([0, *cuts], [*cuts, n]):
        some = {k: v[:, :j] if k == 'attention_mask' else v[:, i:j] for k, v in inputs.items()} | {'past_key_values': cache, 'use_cache': len(cuts) > 0}
        with torch.no_grad(): out = model(**some)
        cache = out.get('past_key_values'); parts.append(out['logits'])
    return torch.cat(parts, 1)
a = run('eager', cuts=[], input_ids=torch.tensor([[77,20,121,31,19,151,64,65,131,73,12,112,138,33,89,145,85,106,131,21],[0,0,0,0,0,0,0,128,82,124,64,140,116,97,55,114,95,108,145,60]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1,1,1,1,1]]), position_ids=torch.tensor([[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19],[0,0,0,0,0,0,0,0,1,2,3,4,5,6,7,8,9,10,11,12]]))
b = run('eager', cuts=[10, 11, 12, 13, 14, 15, 16, 17, 18, 19], input_ids=torch.tensor([[77,20,121,31,19,151,64,65,131,73,12,112,138,33,89,145,85,106,131,21],[0,0,0,0,0,0,0,128,82,124,64,140,116,97,55,114,95,108,145,60]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1,1,1,1,1]]), position_ids=torch.tensor([[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19],[0,0,0,0,0,0,0,0,1,2,3,4,5,6,7,8,9,10,11,12]]))
print('difference of outputs that should be equal:', (a[1, [7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]] - b[1, [7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]]).abs().max().item())
