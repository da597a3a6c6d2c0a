"""Merging as DESIGN states it, one token at a time in float64: slow, and obviously right."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

from thinwire.bundle import Merging


@dataclass
class Token:
    """One token: its hidden state, how many patches it holds, and which."""

    x: np.ndarray
    patches: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.patches)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def merge_groups(tokens: list[Token], into: dict[int, int], weight: str) -> list[Token]:
    """Merge token ``source`` into ``into[source]``, each group averaged at once."""
    survivors = []
    for rank, token in enumerate(tokens):
        if rank in into:
            continue
        group = [token, *(tokens[source] for source, target in sorted(into.items()) if target == rank)]
        if len(group) == 1:
            survivors.append(token)
            continue
        weights = [max(1e-12, np.linalg.norm(member.x)) if weight == "norm" else member.size for member in group]
        x = sum(w * member.x for w, member in zip(weights, group, strict=True)) / sum(weights)
        survivors.append(Token(x, [patch for member in group for patch in member.patches]))
    return survivors


def best_targets(metrics: list[np.ndarray]) -> dict[int, tuple[int, float]]:
    """For every odd rank the even rank most like it, the first of equals, and how alike they are."""
    found = {}
    for source in range(1, len(metrics), 2):
        best, most = 0, -math.inf
        for target in range(0, len(metrics), 2):
            similarity = cosine(metrics[source], metrics[target])
            if similarity > most:
                best, most = target, similarity
        found[source] = (best, most)
    return found


def cap_tokens(tokens: list[Token], limit: int, weight: str) -> list[Token]:
    """Repeated bipartite rounds by the hidden states until at most ``limit`` are left."""
    while len(tokens) > limit:
        found = best_targets([token.x for token in tokens])
        ranked = sorted(found, key=lambda source: -found[source][1])[: len(tokens) - limit]
        tokens = merge_groups(tokens, {source: found[source][0] for source in ranked}, weight)
    return tokens


@dataclass
class Layer:
    """What a layer does to rows, ``n x D``: from rows to queries, keys and values, ``n x heads x head_dim``."""

    heads: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
    scale: float
    project: Callable[[torch.Tensor], torch.Tensor]
    mlp: Callable[[torch.Tensor], torch.Tensor]


@dataclass
class Parts:
    """A transformer taken apart."""

    embed: Callable[[torch.Tensor], torch.Tensor]
    prefix: int
    layers: list[Layer]


def timm_parts(model: VisionTransformer) -> Parts:
    """The parts of a timm model."""

    def layer(block):
        module = block.attn

        def heads(rows):
            qkv = module.qkv(block.norm1(rows))
            query, key, value = qkv.reshape(len(rows), 3, module.num_heads, module.head_dim).unbind(1)
            return module.q_norm(query), module.k_norm(key), value

        return Layer(
            heads,
            module.scale,
            lambda mixed: block.ls1(module.proj(mixed)),
            lambda rows: block.ls2(block.mlp(block.norm2(rows))),
        )

    def embed(image):
        return model.norm_pre(model._pos_embed(model.patch_embed(image[None])))[0]

    return Parts(embed, model.num_prefix_tokens, [layer(block) for block in model.blocks])


def transformers_parts(model: Any, depth: int) -> Parts:
    """The parts of transformers' CLIP or SigLIP vision model up to a layer."""

    def layer(block):
        module = block.self_attn
        width = module.embed_dim // module.num_heads

        def heads(rows):
            normed = block.layer_norm1(rows)
            return tuple(
                torch.stack([part[:, head * width : (head + 1) * width] for head in range(module.num_heads)], dim=1)
                for part in (module.q_proj(normed), module.k_proj(normed), module.v_proj(normed))
            )

        return Layer(heads, 1 / math.sqrt(width), module.out_proj, lambda rows: block.mlp(block.layer_norm2(rows)))

    def embed(image):
        return model(image[None], output_hidden_states=True).hidden_states[0][0]

    prefix = int(hasattr(model.embeddings, "class_embedding"))
    return Parts(embed, prefix, [layer(block) for block in model.encoder.layers[:depth]])


def whisper_parts(encoder: Any) -> Parts:
    """The parts of transformers' ``WhisperEncoder``."""

    def layer(block):
        module = block.self_attn
        is_last = block is encoder.layers[-1]

        def heads(rows):
            normed = block.self_attn_layer_norm(rows)
            parts = (module.q_proj(normed), module.k_proj(normed), module.v_proj(normed))
            return tuple(torch.stack(part.split(module.head_dim, dim=1), dim=1) for part in parts)

        def feed(rows):
            fed = block.fc2(torch.nn.functional.gelu(block.fc1(block.final_layer_norm(rows))))
            # The encoder's final norm, less what is added to it.
            return encoder.layer_norm(rows + fed) - rows if is_last else fed

        return Layer(heads, 1 / math.sqrt(module.head_dim), module.out_proj, feed)

    def embed(clip):
        return encoder(clip[None], output_hidden_states=True).hidden_states[0][0]

    return Parts(embed, 0, [layer(block) for block in encoder.layers])


def start(parts: Parts, image: torch.Tensor) -> tuple[np.ndarray, list[Token]]:
    """The class token's hidden states (``P x D``) and the patch tokens that enter the first layer."""
    with torch.inference_mode():
        embedded = parts.embed(image)
    tokens = [Token(row, [patch]) for patch, row in enumerate(embedded[parts.prefix :].numpy())]
    return embedded[: parts.prefix].numpy(), tokens


def run_one(
    parts: Parts, image: torch.Tensor, thresholds: list[float], merging: Merging, r: int | None = None
) -> tuple[np.ndarray, list[Token]]:
    """One image through all layers: the class token's hidden states (``P x D``) and the patch tokens.

    With ``r``, that many tokens merge at each layer, whatever their similarity.
    """
    prefix, tokens = start(parts, image)
    for layer, threshold in zip(parts.layers, thresholds, strict=True):
        rows = np.concatenate([prefix, *(token.x[None] for token in tokens)])
        rows, metrics = attention(layer, rows, [1] * parts.prefix + [token.size for token in tokens], merging)
        if merging.place == "layer":
            rows = mlp(layer, rows)
        prefix = rows[: parts.prefix]
        tokens = [Token(row, token.patches) for row, token in zip(rows[parts.prefix :], tokens, strict=True)]
        if threshold < 1:
            present = metrics[parts.prefix :]
            if merging.metric == "key":
                mean = sum(present) / len(present)
                present = [one - mean for one in present]
            found = best_targets(present)
            if r is not None:
                found = dict(sorted(found.items(), key=lambda item: -item[1][1])[:r])
            into = {source: target for source, (target, similarity) in found.items() if similarity > threshold}
            tokens = merge_groups(tokens, into, merging.weight)
        if merging.place == "attention":
            rows = mlp(layer, np.concatenate([prefix, *(token.x[None] for token in tokens)]))
            prefix = rows[: parts.prefix]
            tokens = [Token(row, token.patches) for row, token in zip(rows[parts.prefix :], tokens, strict=True)]
    return prefix, tokens


def attention(
    layer: Layer, rows: np.ndarray, sizes: list[int], merging: Merging
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Attention with its residual, head by head and query by query, and the metric of every token."""
    with torch.inference_mode():
        query, key, value = (part.numpy() for part in layer.heads(torch.from_numpy(rows)))
    output = np.zeros_like(value)
    for head in range(value.shape[1]):
        for i in range(len(rows)):
            logits = np.array([query[i, head] @ key[j, head] * layer.scale for j in range(len(rows))])
            if merging.proportional_attention:
                logits += np.log(sizes)
            weights = np.exp(logits - logits.max())
            output[i, head] = (weights / weights.sum()) @ value[:, head]
    with torch.inference_mode():
        projected = layer.project(torch.from_numpy(output.reshape(len(rows), -1))).numpy()
    pick = {
        "value": lambda j: value[j].reshape(-1),
        "value_head": lambda j: value[j, 0],
        "key": lambda j: key[j].reshape(-1),
        "key_mean": lambda j: key[j].mean(0),
    }[merging.metric]
    return rows + projected, [pick(j) for j in range(len(rows))]


def mlp(layer: Layer, rows: np.ndarray) -> np.ndarray:
    """The MLP with its residual."""
    with torch.inference_mode():
        return rows + layer.mlp(torch.from_numpy(rows)).numpy()
