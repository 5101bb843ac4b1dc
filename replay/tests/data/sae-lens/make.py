# Folders as sae-lens 6.54.12 saves them (SAE.save_model): written with safetensors from its source, as the library itself
# needs torch. Expected values are computed here in float64 by the formulas of its `encode` and `decode`.
import json, os, numpy as np
from safetensors.numpy import save_file
rng = np.random.default_rng(11)
d, k = 6, 10
for arch in ["standard", "jumprelu", "topk"]:
    os.makedirs(arch, exist_ok=True)
    w = {"W_enc": rng.normal(size=(d, k)), "b_enc": rng.normal(size=k) * 0.2, "W_dec": rng.normal(size=(k, d)) * 0.5, "b_dec": rng.normal(size=d) * 0.3}
    if arch == "jumprelu":
        w["threshold"] = rng.uniform(0.0, 1.5, size=k)
    w = {n: v.astype(np.float32) for n, v in w.items()}
    save_file(w, f"{arch}/sae_weights.safetensors")
    cfg = {"d_in": d, "d_sae": k, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": arch != "jumprelu",
           "normalize_activations": "none", "reshape_activations": "none",
           "metadata": {"sae_lens_version": "6.54.12", "sae_lens_training_version": "6.54.12", "model_name": "induction", "hook_name": "blocks.0.hook_resid_post", "prepend_bos": False},
           "architecture": arch}
    if arch == "topk":
        cfg = {"d_in": cfg.pop("d_in"), "d_sae": cfg.pop("d_sae"), **cfg, "k": 3, "rescale_acts_by_decoder_norm": False}
    json.dump(cfg, open(f"{arch}/cfg.json", "w"))
    x = rng.normal(size=(4, d)).astype(np.float32)
    W = {n: v.astype(np.float64) for n, v in w.items()}
    h = x.astype(np.float64) - (W["b_dec"] if cfg["apply_b_dec_to_input"] else 0)
    pre = h @ W["W_enc"] + W["b_enc"]
    f = np.maximum(pre, 0)
    if arch == "jumprelu":
        f = f * (pre > W["threshold"])
    if arch == "topk":
        keep = np.zeros_like(f); idx = np.argsort(-pre, axis=1)[:, :3]
        np.put_along_axis(keep, idx, np.take_along_axis(f, idx, 1), 1); f = keep
    y = f @ W["W_dec"] + W["b_dec"]
    save_file({"x": x, "features": f.astype(np.float32), "decoded": y.astype(np.float32)}, f"{arch}/expected.safetensors")
    print(arch, (f > 0).sum(1))
