"""validate.py CONFIG…: each is valid by the OCI runtime specification's own JSON schema, as Debian packages it."""

import json
import os
import sys

import jsonschema

SCHEMA = "/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema/config-schema.json"

with open(SCHEMA) as file:
    schema = json.load(file)
resolver = jsonschema.RefResolver("file://" + SCHEMA, schema)
checker = jsonschema.validators.validator_for(schema)(schema, resolver=resolver)
wrong = 0
for path in sys.argv[1:]:
    with open(path) as file:
        for error in checker.iter_errors(json.load(file)):
            wrong += 1
            print(f"{path}: {'/'.join(map(str, error.absolute_path))}: {error.message}")
sys.exit(1 if wrong else 0)
