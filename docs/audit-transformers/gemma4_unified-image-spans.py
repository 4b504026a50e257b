import torch; from transformers import AutoConfig, AutoModelForCausalLM
torch.manual_seed(0)
config = AutoConfig.for_model('gemma4_unified', **{'text_config': {'vocab_size': 160, 'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'num_key_value_heads': 2, 'head_dim': 8, 'hidden_activation': 'gelu_pytorch_tanh', 'max_position_embeddings': 128, 'initializer_range': 0.02, 'rms_norm_eps': 1e-06, 'use_cache': True, 'pad_token_id': 0, 'eos_token_id': 1, 'bos_token_id': 2, 'tie_word_embeddings': True, 'rope_parameters': {'sliding_attention': {'rope_type': 'default', 'rope_theta': 10000.0}, 'full_attention': {'rope_type': 'proportional', 'partial_rotary_factor': 0.25, 'rope_theta': 1000000.0}}, 'attention_bias': False, 'attention_dropout': 0.0, 'sliding_window': 8, 'layer_types': ['sliding_attention', 'full_attention'], 'final_logit_softcapping': None, 'use_bidirectional_attention': 'vision', 'attention_k_eq_v': False, 'num_kv_shared_layers': 0, 'use_double_wide_mlp': False, 'per_layer_config': {'1': {'head_dim': 512}}, 'model_type': 'gemma4_unified_text'}, 'vision_config': None, 'audio_config': None, 'boi_token_id': 145, 'eoi_token_id': 142, 'image_token_id': 144, 'video_token_id': 124, 'boa_token_id': 153, 'eoa_token_index': 258883, 'audio_token_id': 129, 'initializer_range': 0.02, 'tie_word_embeddings': True})
model = AutoModelForCausalLM.from_config(config, attn_implementation='eager').eval()
torch.manual_seed(0)
for name, p in model.named_parameters():
    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std=1.7 / max(p.shape[-1], 8) ** 0.5)
    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)
model.set_attn_implementation('eager')
import torch.nn.functional as F; from torch.overrides import TorchFunctionMode
inside, seen, layer = [], [], model.get_submodule('model.language_model.layers.0.self_attn')
layer.register_forward_pre_hook(lambda *a: inside.append(1))
layer.register_forward_hook(lambda *a: inside.clear())
class See(TorchFunctionMode):
    def __torch_function__(self, f, types, args=(), kwargs=None):
        kwargs = kwargs or {}; out = f(*args, **kwargs)
        if inside and f.__name__ == 'softmax': w = out; seen.append(out); print('query 12 should attend to [5, 6, 7, 8, 9, 10, 11, 12], attends to', w.reshape(2, -1, *w.shape[-2:])[0, 0, 12].nonzero()[:, 0].tolist())
        return out
with See(), torch.no_grad(): model(input_ids=torch.tensor([[21,48,54,135,93,141,32,44,30,105,156,48,80,85,135,157,17,56,134,27],[77,29,138,103,15,91,18,72,44,118,39,6,74,0,0,0,0,0,0,0]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[1,1,1,1,1,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0]]), position_ids=torch.tensor([[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19],[0,1,2,3,4,5,6,7,8,9,10,11,12,12,12,12,12,12,12,12]]), mm_token_type_ids=torch.tensor([[0,1,1,0,1,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0],[0,1,1,0,1,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0]]))
