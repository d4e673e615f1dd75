"""isan's own schema of its JSON reports."""
import functools
import json

import jsonschema

from helpers.tree import REPORT_SCHEMA as PATH


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
