import torch; from transformers import AutoConfig, AutoModelForCausalLM
torch.manual_seed(0)
config = AutoConfig.for_model('jamba', **{'vocab_size': 160, 'tie_word_embeddings': False, 'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'num_key_value_heads': 2, 'hidden_act': 'silu', 'initializer_range': 0.02, 'rms_norm_eps': 1e-06, 'use_cache': True, 'output_router_logits': False, 'router_aux_loss_coef': 0.001, 'pad_token_id': 0, 'bos_token_id': 1, 'eos_token_id': 2, 'max_position_embeddings': 128, 'attention_dropout': 0.0, 'num_experts_per_tok': 2, 'num_experts': 4, 'expert_layer_period': 2, 'expert_layer_offset': 1, 'attn_layer_period': 2, 'attn_layer_offset': 1, 'use_mamba_kernels': True, 'mamba_d_state': 16, 'mamba_d_conv': 4, 'mamba_expand': 2, 'mamba_dt_rank': 2, 'mamba_conv_bias': True, 'mamba_proj_bias': False, 'use_mambapy': False, 'use_associative_scan': True})
model = AutoModelForCausalLM.from_config(config, attn_implementation='eager').eval()
torch.manual_seed(0)
for name, p in model.named_parameters():
    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std=1.7 / max(p.shape[-1], 8) ** 0.5)
    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)
def run(implementation, cuts, **inputs):
    model.set_attn_implementation(implementation)
    parts, cache, n = [], None, inputs['input_ids'].shape[1]
    for i, j in zip([0, *cuts], [*cuts, n]):
        some = {k: v[:, :j] if k == 'attention_mask' else v[:, i:j] for k, v in inputs.items()} | {'past_key_values': cache, 'use_cache': len(cuts) > 0}
        with torch.no_grad(): out = model(**some)
        cache = out.get('past_key_values'); parts.append(out['logits'])
    return torch.cat(parts, 1)
a = run('eager', cuts=[], input_ids=torch.tensor([[11,54,85,57,48,52,46,95,107,67,152,20,75,144,24,70,128,90,138,41]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]]), position_ids=torch.tensor([[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19]]))
b = run('eager', cuts=[5, 10], input_ids=torch.tensor([[11,54,85,57,48,52,46,95,107,67,152,20,75,144,24,70,128,90,138,41]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]]), position_ids=torch.tensor([[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19]]))
print('difference of outputs that should be equal:', (a[0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]] - b[0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]]).abs().max().item())
