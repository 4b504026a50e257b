import torch; from transformers import AutoConfig, AutoModelForMaskedLM
torch.manual_seed(0)
config = AutoConfig.for_model('yoso', **{'vocab_size': 160, 'hidden_size': 32, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'intermediate_size': 64, 'hidden_act': 'gelu', 'hidden_dropout_prob': 0.1, 'attention_probs_dropout_prob': 0.1, 'max_position_embeddings': 128, 'type_vocab_size': 1, 'initializer_range': 0.02, 'layer_norm_eps': 1e-12, 'use_expectation': True, 'hash_code_len': 9, 'num_hash': 64, 'conv_window': None, 'use_fast_hash': True, 'lsh_backward': True, 'pad_token_id': 1, 'bos_token_id': 0, 'eos_token_id': 2, 'add_cross_attention': False, 'tie_word_embeddings': True})
model = AutoModelForMaskedLM.from_config(config, attn_implementation='eager').eval()
torch.manual_seed(0)
for name, p in model.named_parameters():
    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std=1.7 / max(p.shape[-1], 8) ** 0.5)
    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)
model.double()
def run(implementation, **inputs):
    with torch.no_grad(): return model(**inputs)['logits']
a = run('', input_ids=torch.tensor([[11,54,85,57,48,52,46,95,107,67,152,20,75,144,24,70,128,90,138,41],[15,154,44,143,73,18,26,101,79,92,38,54,16,17,11,72,58,120,9,124]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[1,1,1,1,1,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0]]), position_ids=torch.tensor([[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19],[0,1,2,3,4,5,6,7,8,9,10,11,12,12,12,12,12,12,12,12]]))
b = run('', input_ids=torch.tensor([[11,54,85,57,48,52,46,95,107,67,152,20,75,144,24,70,128,90,138,41],[15,154,44,143,73,18,26,101,79,92,38,54,16,27,34,54,89,90,125,106]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[1,1,1,1,1,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0]]), position_ids=torch.tensor([[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19],[0,1,2,3,4,5,6,7,8,9,10,11,12,12,12,12,12,12,12,12]]))
print('difference of outputs that should be equal:', (a[1, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]] - b[1, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]]).abs().max().item())
