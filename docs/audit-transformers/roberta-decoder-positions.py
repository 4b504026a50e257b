import torch; from transformers import AutoConfig, AutoModelForCausalLM
torch.manual_seed(0)
config = AutoConfig.for_model('camembert', **{'vocab_size': 160, 'hidden_size': 32, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'intermediate_size': 64, 'hidden_act': 'gelu', 'hidden_dropout_prob': 0.1, 'attention_probs_dropout_prob': 0.1, 'max_position_embeddings': 128, 'type_vocab_size': 2, 'initializer_range': 0.02, 'layer_norm_eps': 1e-12, 'pad_token_id': 1, 'bos_token_id': 0, 'eos_token_id': 2, 'use_cache': True, 'classifier_dropout': None, 'is_decoder': True, 'add_cross_attention': True, 'tie_word_embeddings': True})
model = AutoModelForCausalLM.from_config(config, attn_implementation='eager').eval()
torch.manual_seed(0)
for name, p in model.named_parameters():
    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std=1.7 / max(p.shape[-1], 8) ** 0.5)
    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)
model.double()
model.set_attn_implementation('eager')
inputs = dict(input_ids=torch.tensor([[54,159,113,50,63,59,22,93,62,53,51,11,21,29,13,51,6,73,154,63]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]]))
options = dict(max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True)
a = model.generate(**inputs, **options).logits[0]
with torch.no_grad(): b = model(**inputs).logits[:, -1]
print('difference of scores that should be equal:', (a - b).abs().max().item())
