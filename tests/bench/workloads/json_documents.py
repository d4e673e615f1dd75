"""JSON: encoding and decoding nested documents, C and Python paths."""
import json
import os

SIZE = 450


def document(seed):
    return {
        "id": seed,
        "name": f"document {seed}",
        "tags": [f"tag{i}" for i in range(12)],
        "ratio": seed / 3,
        "flags": {"on": True, "off": False, "none": None},
        "rows": [{"x": i, "y": i * 0.5, "label": f"row “{i}”"} for i in range(60)],
        "tree": [[[i, [i, [i]]], "\n\t\"", ""] for i in range(40)],
    }


def main(n):
    for i in range(n):
        value = document(i)
        for _ in range(4):
            text = json.dumps(value)
            assert json.loads(text) == value
        pretty = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
        seen = []
        json.loads(pretty, object_pairs_hook=lambda pairs: seen.append(len(pairs)))
        assert len(seen) == 62


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
