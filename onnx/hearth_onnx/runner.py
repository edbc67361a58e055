"""Runs a model folder with onnxruntime in Python: for the self-test and the parity check."""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort

KV_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class Folder:
    """The sessions of one folder and the concat-style loop over them."""

    def __init__(self, path: str | Path, threads: int = 1, files: dict[str, Path] | None = None):
        """``files``: only these parts; else all graphs of the folder."""
        self.path = Path(path)
        self.threads = threads
        self.config = json.loads((self.path / "config.json").read_text())
        self.sessions: dict[str, ort.InferenceSession] = {}
        for file in sorted((self.path / "onnx").glob("*.onnx") if files is None else files.values()):
            part = next(
                part
                for part in ("audio_encoder", "audio_stream", "embed_tokens")
                + ("decoder_model_merged", "decoder_lower", "decoder_upper")
                if file.name.startswith(part)
            )
            self.sessions[part] = self._open(file)
        self.merged = "decoder_model_merged" in self.sessions
        self.first = self.sessions.get("decoder_model_merged" if self.merged else "decoder_lower")
        inputs = self.first.get_inputs() if self.first else []
        self.past = [i for i in inputs if i.name.startswith("past_key_values.")]
        kinds = self.config["text_config"].get("layer_types", [])
        own = {int(i.name.split(".")[1]) for i in self.past}
        self.sliding = [f"past_key_values.{i}.key" for i in sorted(own) if kinds[i] != "full_attention"]

    def _open(self, file: Path) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def encode(self, mel: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """``[T,mel]`` and ``[T]`` to audio rows ``[n,H]``."""
        session = self.sessions["audio_encoder"]
        bool_mask = session.get_inputs()[1].type == "tensor(bool)"
        mask = mask.astype(bool if bool_mask else np.float32)
        feeds = {"input_features": mel[None].astype(np.float32), "input_features_mask": mask[None]}
        return session.run(None, feeds)[0]

    def begin(self) -> dict[str, np.ndarray]:
        """What the streaming encoder takes beside frames at the start of a turn."""
        kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
        inputs = self.sessions["audio_stream"].get_inputs()
        return {i.name: np.zeros(i.shape, kinds[i.type]) for i in inputs[1:]}

    def hear(self, mel: np.ndarray, state: dict[str, np.ndarray]):
        """The next frames ``[T,mel]``: ``(their rows [n,H], the state after them)``."""
        session = self.sessions["audio_stream"]
        names = [o.name for o in session.get_outputs()]
        feeds = {"input_features": mel[None].astype(np.float32), **state}
        rows, *states = session.run(None, feeds)
        following = {name.removeprefix("next_"): each for name, each in zip(names[1:], states)}
        return rows, {"rows_done": state["rows_done"] + len(rows), **following}

    def hear_blocks(self, mel: np.ndarray, cuts: list[int]) -> np.ndarray:
        """All rows of ``mel`` in blocks that begin at the rows ``cuts``."""
        state, rows = self.begin(), []
        for block in np.split(mel, [4 * row for row in cuts]):
            out, state = self.hear(block, state)
            rows.append(out)
        return np.concatenate(rows)

    def embed(self, ids: list[int], audio_rows: np.ndarray | None = None):
        """Rows of a prompt: ``[1,S,H]`` and ``[1,S,L,P]``, audio rows put in place."""
        ids = np.array([ids], np.int64)
        rows, per_layer = self.sessions["embed_tokens"].run(None, {"input_ids": ids})
        if audio_rows is not None:
            rows[ids == self.config["audio_token_id"]] = audio_rows
        return rows, per_layer

    def empty(self) -> dict[str, np.ndarray]:
        """No past."""
        return {
            i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), KV_TYPES[i.type]) for i in self.past
        }

    def step(self, rows, per_layer, past: dict, keep: int = 1, run_upper: bool = True):
        """One call of the decoder: ``(logits or None, new past)``."""
        feeds = {"inputs_embeds": rows, "per_layer_inputs": per_layer, **past}
        count = max(each.shape[2] for each in past.values()) + rows.shape[1]
        self.add_optional(feeds, count, rows.shape[1], keep)
        names = [o.name for o in self.first.get_outputs()]
        out = dict(zip(names, self.first.run(None, feeds)))
        present = {
            name.replace("present.", "past_key_values."): value
            for name, value in out.items()
            if name.startswith("present.")
        }
        if self.merged:
            return out["logits"][:, -keep:] if keep else out["logits"], present
        return (self.upper(out, present, feeds, keep) if run_upper else None), present

    def add_optional(self, feeds: dict, count: int, rows: int, keep: int) -> None:
        """Adds the mask over ``count`` tokens and whatever else this graph declares; the past of
        sliding layers may be shorter than that of the others."""
        kinds = {i.name: i.type for i in self.first.get_inputs()}
        wide = kinds["attention_mask"] == "tensor(int64)"
        feeds["attention_mask"] = np.ones((1, count), np.int64 if wide else np.int32)
        if "sliding_attention_mask" in kinds:
            past = [feeds[name].shape[2] for name in self.sliding if name in feeds]
            feeds["sliding_attention_mask"] = np.ones((1, past[0] + rows if past else count), np.int64)
        if "position_ids" in kinds:
            feeds["position_ids"] = np.arange(count - rows, count, dtype=np.int64)[None]
        if "num_logits_to_keep" in kinds:
            feeds["num_logits_to_keep"] = np.array(keep, np.int64)

    def upper(self, lower: dict, present: dict, fed: dict, keep: int) -> np.ndarray:
        """The upper half on the last ``keep`` rows (0: all) of what the lower gave when it was ``fed``
        that."""
        session = self.sessions["decoder_upper"]
        names = [i.name for i in session.get_inputs()]
        feeds = {name: present[name] for name in names if name.startswith("past_key_values.")}
        feeds |= {name: fed[name] for name in names if name.endswith("attention_mask")}
        if "position_ids" in names:
            feeds["position_ids"] = fed["position_ids"][:, -keep:]
        feeds["hidden_states"] = lower["hidden_states"][:, -keep:]
        feeds["shared_per_layer_inputs"] = lower["shared_per_layer_inputs"][:, -keep:]
        return session.run(None, feeds)[0]

    def generate(self, rows, per_layer, count: int):
        """Greedy: ``(ids, logits [count,V], final past)``; stop tokens do not stop it."""
        past, ids, logits = self.empty(), [], []
        for _ in range(count):
            out, past = self.step(rows, per_layer, past)
            logits.append(out[0, -1].astype(np.float32))
            ids.append(int(logits[-1].argmax()))
            rows, per_layer = self.embed([ids[-1]])
        return ids, np.stack(logits), past
