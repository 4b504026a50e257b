import torch; from transformers import AutoConfig, AutoModelForSeq2SeqLM
torch.manual_seed(0)
config = AutoConfig.for_model('fsmt', **{'is_encoder_decoder': True, 'langs': ['en', 'de'], 'src_vocab_size': 42024, 'tgt_vocab_size': 42024, 'activation_function': 'relu', 'd_model': 32, 'max_length': 200, 'max_position_embeddings': 128, 'encoder_ffn_dim': 64, 'encoder_layers': 2, 'encoder_attention_heads': 4, 'encoder_layerdrop': 0.0, 'decoder_ffn_dim': 64, 'decoder_layers': 2, 'decoder_attention_heads': 4, 'decoder_layerdrop': 0.0, 'attention_dropout': 0.0, 'dropout': 0.1, 'activation_dropout': 0.0, 'init_std': 0.02, 'decoder_start_token_id': 2, 'scale_embedding': True, 'tie_word_embeddings': False, 'num_beams': 5, 'length_penalty': 1.0, 'early_stopping': False, 'use_cache': True, 'pad_token_id': 1, 'bos_token_id': 0, 'eos_token_id': 2, 'forced_eos_token_id': 2})
model = AutoModelForSeq2SeqLM.from_config(config, attn_implementation='eager').eval()
torch.manual_seed(0)
for name, p in model.named_parameters():
    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std=1.7 / max(p.shape[-1], 8) ** 0.5)
    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)
model.double()
def run(implementation, **inputs):
    with torch.no_grad(): return model(**inputs)['logits']
a = run('', input_ids=torch.tensor([[49,244,938,1765,968,384,1432,508,1502,1688,106,871,761,1404,1883,381,61,1873,799,38],[49,244,938,1765,968,384,1432,508,1502,1688,106,871,761,1404,1883,381,61,1873,799,38]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]]), decoder_input_ids=torch.tensor([[406,264,766,1805,766,893,1207,953,170],[406,264,766,1805,766,893,1207,953,170]]))
b = run('', input_ids=torch.tensor([[49,244,938,1765,968,384,1432,508,1502,1688,106,871,761,1404,1883,381,61,1873,799,38],[49,244,938,1765,968,384,1432,508,1502,1688,106,871,761,1404,1883,381,61,1873,799,38]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]]), decoder_input_ids=torch.tensor([[406,264,766,1805,873,108,1725,615,1303],[406,264,766,1805,873,108,1725,615,1303]]))
print('difference of outputs that should be equal:', (a[1, [0, 1, 2, 3]] - b[1, [0, 1, 2, 3]]).abs().max().item())
