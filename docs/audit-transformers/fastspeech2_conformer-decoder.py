import torch; from transformers import AutoConfig, AutoModel
torch.manual_seed(0)
config = AutoConfig.for_model('fastspeech2_conformer', **{'is_encoder_decoder': True, 'hidden_size': 32, 'vocab_size': 78, 'num_mel_bins': 8, 'encoder_num_attention_heads': 2, 'encoder_layers': 2, 'encoder_linear_units': 1536, 'decoder_layers': 2, 'decoder_num_attention_heads': 2, 'decoder_linear_units': 1536, 'speech_decoder_postnet_layers': 5, 'speech_decoder_postnet_units': 256, 'speech_decoder_postnet_kernel': 5, 'positionwise_conv_kernel_size': 3, 'encoder_normalize_before': False, 'decoder_normalize_before': False, 'encoder_concat_after': False, 'decoder_concat_after': False, 'reduction_factor': 1, 'speaking_speed': 1.0, 'use_macaron_style_in_conformer': True, 'use_cnn_in_conformer': True, 'encoder_kernel_size': 7, 'decoder_kernel_size': 31, 'duration_predictor_layers': 2, 'duration_predictor_channels': 256, 'duration_predictor_kernel_size': 3, 'energy_predictor_layers': 2, 'energy_predictor_channels': 256, 'energy_predictor_kernel_size': 3, 'energy_predictor_dropout': 0.5, 'energy_embed_kernel_size': 1, 'energy_embed_dropout': 0.0, 'stop_gradient_from_energy_predictor': False, 'pitch_predictor_layers': 5, 'pitch_predictor_channels': 256, 'pitch_predictor_kernel_size': 5, 'pitch_predictor_dropout': 0.5, 'pitch_embed_kernel_size': 1, 'pitch_embed_dropout': 0.0, 'stop_gradient_from_pitch_predictor': True, 'encoder_dropout_rate': 0.2, 'encoder_positional_dropout_rate': 0.2, 'encoder_attention_dropout_rate': 0.2, 'decoder_dropout_rate': 0.2, 'decoder_positional_dropout_rate': 0.2, 'decoder_attention_dropout_rate': 0.2, 'duration_predictor_dropout_rate': 0.2, 'speech_decoder_postnet_dropout': 0.5, 'max_source_positions': 128, 'use_masking': True, 'use_weighted_masking': False, 'num_speakers': None, 'num_languages': None, 'speaker_embed_dim': None, 'convolution_bias': True, 'encoder_config': {'num_attention_heads': 2, 'layers': 2, 'kernel_size': 7, 'attention_dropout_rate': 0.2, 'dropout_rate': 0.2, 'positional_dropout_rate': 0.2, 'linear_units': 1536, 'normalize_before': False, 'concat_after': False}, 'decoder_config': {'num_attention_heads': 2, 'layers': 2, 'kernel_size': 31, 'attention_dropout_rate': 0.2, 'dropout_rate': 0.2, 'positional_dropout_rate': 0.2, 'linear_units': 1536, 'normalize_before': False, 'concat_after': False}})
model = AutoModel.from_config(config, attn_implementation='eager').eval()
torch.manual_seed(0)
for name, p in model.named_parameters():
    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std=1.7 / max(p.shape[-1], 8) ** 0.5)
    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)
import torch.nn.functional as F; from torch.overrides import TorchFunctionMode
inside, layer = [], model.get_submodule('decoder.conformer_layers.0.self_attn')
layer.register_forward_pre_hook(lambda *a: inside.append(1))
layer.register_forward_hook(lambda *a: inside.clear())
class See(TorchFunctionMode):
    def __torch_function__(self, f, types, args=(), kwargs=None):
        out = f(*args, **(kwargs or {}))
        if inside and f in (F.softmax, torch.softmax): print('query 0 should attend to [0], attends to', out.view(-1, *out.shape[-2:])[0, 0].nonzero()[:, 0].tolist())
        if inside and f is F.scaled_dot_product_attention: print('given to the kernel:', kwargs)
        return out
with See(), torch.no_grad(): model(input_ids=torch.tensor([[65,72,8,69,18,27,49,76,65,71,22,7,17,75,39,76,77,36,17,23],[43,16,53,36,51,39,45,5,53,55,65,65,71,0,0,0,0,0,0,0]]), attention_mask=torch.tensor([[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],[1,1,1,1,1,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0]]), decoder_input_ids=torch.tensor([[73,25,64,40,35,12,38,48,55],[73,25,64,40,35,12,38,48,55]]))
