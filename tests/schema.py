"""isan's own schema of its JSON reports."""
import functools
import json
from pathlib import Path

import jsonschema

PATH = Path(__file__).resolve().parent.parent / "reports" / "schema.json"


@functools.lru_cache(None)
def validator():
    schema = json.loads(PATH.read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def validate(report):
    """Raises jsonschema.ValidationError."""
    error = jsonschema.exceptions.best_match(validator().iter_errors(report))
    if error:
        raise error
