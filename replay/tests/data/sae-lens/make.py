"""Makes the folders beside it with sae-lens itself, and what it computes of them.

    pip install sae-lens==6.54.12
    python make.py

`standard`, `jumprelu`, `gated` and `topk` are saved by `save_model`; `trained-topk`, `batchtopk` and
`matryoshka` by `save_inference_model` of the classes that sae-lens trains.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedSAE,
    GatedSAEConfig,
    JumpReLUSAE,
    JumpReLUSAEConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    SAE,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.saes.sae import SAEMetadata

WIDTH, FEATURES, K = 6, 10, 3


def sizes():
    metadata = SAEMetadata(
        model_name="induction", hook_name="blocks.0.hook_resid_post", prepend_bos=False
    )
    return {"d_in": WIDTH, "d_sae": FEATURES, "metadata": metadata}


def drawn(sae):
    """Gives every parameter a value that is not its first."""
    scales = {"b_enc": 0.2, "W_dec": 0.5, "b_dec": 0.3, "b_gate": 0.2, "b_mag": 0.2, "r_mag": 0.5}
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            if name == "threshold":
                parameter.uniform_(0.0, 1.5)
            else:
                parameter.normal_(0.0, scales.get(name, 1.0))
        if hasattr(sae, "topk_threshold"):
            sae.topk_threshold.fill_(0.7)
    return sae


def main():
    torch.manual_seed(11)
    here = Path(__file__).parent
    saved = {
        "standard": StandardSAE(StandardSAEConfig(**sizes())),
        "jumprelu": JumpReLUSAE(JumpReLUSAEConfig(**sizes(), apply_b_dec_to_input=False)),
        "gated": GatedSAE(GatedSAEConfig(**sizes())),
        "topk": TopKSAE(TopKSAEConfig(**sizes(), k=K)),
    }
    trained = {
        "trained-topk": TopKTrainingSAE(TopKTrainingSAEConfig(**sizes(), k=K)),
        "batchtopk": BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**sizes(), k=K)),
        "matryoshka": MatryoshkaBatchTopKTrainingSAE(
            MatryoshkaBatchTopKTrainingSAEConfig(**sizes(), k=K, matryoshka_widths=[4, FEATURES])
        ),
    }
    for name, sae in saved.items():
        drawn(sae).save_model(here / name)
    for name, sae in trained.items():
        drawn(sae).save_inference_model(here / name)
    for name in saved | trained:
        sae = SAE.load_from_disk(str(here / name), device="cpu")
        x = torch.randn(4, WIDTH)
        with torch.no_grad():
            features = sae.encode(x)
            decoded = sae.decode(features)
        expected = {"x": x, "features": features, "decoded": decoded}
        expected = {key: value.contiguous() for key, value in expected.items()}
        save_file(expected, here / name / "expected.safetensors")
        print(name, (features > 0).sum(1).tolist())


if __name__ == "__main__":
    main()
