import torch; from transformers import AutoConfig, AutoModelForSeq2SeqLM
torch.manual_seed(0)
config = AutoConfig.for_model('prophetnet', **{'is_encoder_decoder': True, 'activation_dropout': 0.1, 'activation_function': 'gelu', 'vocab_size': 160, 'hidden_size': 32, 'encoder_ffn_dim': 64, 'num_encoder_layers': 2, 'num_encoder_attention_heads': 16, 'decoder_ffn_dim': 64, 'num_decoder_layers': 2, 'num_decoder_attention_heads': 16, 'attention_dropout': 0.1, 'dropout': 0.1, 'max_position_embeddings': 128, 'init_std': 0.02, 'add_cross_attention': True, 'decoder_start_token_id': 0, 'ngram': 2, 'num_buckets': 32, 'relative_max_distance': 128, 'disable_ngram_loss': False, 'eps': 0.0, 'use_cache': True, 'pad_token_id': 0, 'bos_token_id': 1, 'eos_token_id': 2, 'is_decoder': False, 'tie_word_embeddings': True})
model = AutoModelForSeq2SeqLM.from_config(config, attn_implementation='eager').eval()
torch.manual_seed(0)
for name, p in model.named_parameters():
    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std=1.7 / max(p.shape[-1], 8) ** 0.5)
    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)
def run(implementation, **inputs):
    with torch.no_grad(): return model(**inputs)['logits']
a = run('', input_ids=torch.tensor([[54,159,113,50,63,59,22,93,62,53,51,11,21,29,13,51,6,73,154,63],[54,159,113,50,63,59,22,93,62,53,51,11,21,29,13,51,6,73,154,63]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]]), decoder_input_ids=torch.tensor([[6,124,6,70,116,28,97,123,55],[6,124,6,70,116,28,97,123,55]]))
b = run('', input_ids=torch.tensor([[54,159,113,50,63,59,22,93,62,53,51,11,21,29,13,51,6,73,154,63],[54,159,113,50,63,59,22,93,62,53,51,11,21,29,13,51,6,73,154,63]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]]), decoder_input_ids=torch.tensor([[6,124,6,70,8,28,135,50,53],[6,124,6,70,8,28,135,50,53]]))
print('difference of outputs that should be equal:', (a[1, [0, 1, 2, 3]] - b[1, [0, 1, 2, 3]]).abs().max().item())
