"""The tiny Llama in PyTorch, with the weight names and numerics of transformers' LlamaForCausalLM.

Shapes: B sequences, T tokens, D = hidden size, H heads of size d, G key-value heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 3840,
    "eos_token_id": [3841, 3848, 3849],
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 640,
    "max_position_embeddings": 2048,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 8,
    "num_hidden_layers": 5,
    "num_key_value_heads": 4,
    "pad_token_id": 3844,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 256,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": 4096,
}
GENERATION_CONFIG = {
    "bos_token_id": 3840, "do_sample": True, "eos_token_id": [3841, 3848, 3849],
    "pad_token_id": 3844, "temperature": 0.6, "top_p": 0.9,
}


def rope_frequencies(config: dict) -> Tensor:
    """Inverse frequencies [d/2] with the llama3 scaling: long waves slowed, a ramp in between."""
    d, s = config["head_dim"], config["rope_scaling"]
    inverse = 1.0 / config["rope_theta"] ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    wave = 2 * math.pi / inverse
    old = s["original_max_position_embeddings"]
    low, high = s["low_freq_factor"], s["high_freq_factor"]
    ramp = ((old / wave - low) / (high - low)).clamp(0, 1)
    return ((1 - ramp) * inverse / s["factor"] + ramp * inverse).float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE on x [B, heads, T, d] with cos and sin [T, d]; the halves rotate into each other."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.h, self.g, self.d = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        D = c["hidden_size"]
        self.q_proj = nn.Linear(D, self.h * self.d, bias=False)
        self.k_proj = nn.Linear(D, self.g * self.d, bias=False)
        self.v_proj = nn.Linear(D, self.g * self.d, bias=False)
        self.o_proj = nn.Linear(self.h * self.d, D, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        B, T, _ = x.shape
        q = rotate(self.q_proj(x).view(B, T, self.h, self.d).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(x).view(B, T, self.g, self.d).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(B, T, self.g, self.d).transpose(1, 2)
        k, v = (t.repeat_interleave(self.h // self.g, dim=1) for t in (k, v))
        out = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True)
        return self.o_proj(out.transpose(1, 2).reshape(B, T, self.h * self.d))


class MLP(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.gate_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.up_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.down_proj = nn.Linear(c["intermediate_size"], c["hidden_size"], bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(c["hidden_size"], eps=c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = nn.RMSNorm(c["hidden_size"], eps=c["rms_norm_eps"])
        self.mlp = MLP(c)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """`state_dict()` carries the names of a Hugging Face checkpoint with tied embeddings."""

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.model.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.model.norm = nn.RMSNorm(config["hidden_size"], eps=config["rms_norm_eps"])
        angles = torch.outer(torch.arange(config["max_position_embeddings"]).float(),
                             rope_frequencies(config))
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.apply(self._init)
        residual = 0.02 / math.sqrt(2 * config["num_hidden_layers"])
        for layer in self.model.layers:
            nn.init.normal_(layer.self_attn.o_proj.weight, std=residual)
            nn.init.normal_(layer.mlp.down_proj.weight, std=residual)

    @staticmethod
    def _init(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [B, T, vocabulary] of token ids [B, T]."""
        x = self.model.embed_tokens(ids)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)

    def loss(self, ids: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy of the labels [B, T], `smoothing` of each spread over all tokens."""
        logits = self(ids)
        return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(),
                               label_smoothing=smoothing)
