"""Checkpoints with the names of a Llama, of any number of small layers, and
recipes for them."""

import json

import checkpoints

HIDDEN, KEYS, INNER, WORDS = 24, 12, 40, 50

BLOCK = {
    "input_layernorm": [HIDDEN],
    "self_attn.q_proj": [HIDDEN, HIDDEN],
    "self_attn.k_proj": [KEYS, HIDDEN],
    "self_attn.v_proj": [KEYS, HIDDEN],
    "self_attn.o_proj": [HIDDEN, HIDDEN],
    "post_attention_layernorm": [HIDDEN],
    "mlp.gate_proj": [INNER, HIDDEN],
    "mlp.up_proj": [INNER, HIDDEN],
    "mlp.down_proj": [HIDDEN, INNER],
}


def shapes(layers, words=WORDS):
    found = {"model.embed_tokens.weight": [words, HIDDEN]}
    for i in range(layers):
        for name, shape in BLOCK.items():
            found[f"model.layers.{i}.{name}.weight"] = shape
    found["model.norm.weight"] = [HIDDEN]
    found["lm_head.weight"] = [words, HIDDEN]
    return found


def config(layers):
    """As text, with an order and white space of its own."""
    return (
        '{\n  "architectures": ["LlamaForCausalLM"],\n  "hidden_size":   24,\n'
        f'  "num_hidden_layers" : {layers} ,\n'
        '\t"rope_theta": 1e4, "model_type":"llama"\n}'
    )


def write(path, model, layers, shards=1):
    """A checkpoint directory."""
    parts = checkpoints.split(model, shards)
    checkpoints.write_shards(path, parts, {"format": "pt"}, side_files=False)
    (path / "config.json").write_text(config(layers))
    (path / "tokenizer.json").write_text('{"model": {"vocab": {}}}')
    return path


def family(path, names, layers, dtype="BF16", seed=0, **how):
    """A base and fine-tunes of it, written to path/NAME; the base has two
    shards. Returns {name: tensors}."""
    made = checkpoints.family(shapes(layers, **how), [dtype] * len(names), seed)
    models = dict(zip(names, made))
    for i, (name, model) in enumerate(models.items()):
        write(path / name, model, layers, 2 if i == 0 else 1)
    return models


def recipe(path, **said):
    """A recipe file. JSON is YAML too."""
    path.write_text(json.dumps(said, indent=1))
    return path


def models(*names, **parameters):
    """The entries of `models:`; a parameter has a value for each of them."""
    return [
        {"model": str(name),
         "parameters": {p: v[i] for p, v in parameters.items()}}
        for i, name in enumerate(names)
    ]  # fmt: skip
