# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads farm.yaml: YAML 1.2's plain values, one document, no anchors, no key twice; then the shape, by schema.json. Refuse, never repair."""
import json
import re

import yaml

SIZE_LIMIT = 4 * 1024 * 1024


class Refusal(Exception):
    """An answer "no": the codes are listed in salt/README.md."""

    def __init__(self, code, detail, field=None):
        super().__init__(detail)
        self.code, self.detail, self.field = code, printable(detail), field and printable(field)

    def line(self):
        return f'{self.code} {self.field}: {self.detail}' if self.field else f'{self.code} {self.detail}'


def printable(text):
    return ''.join(letter if ' ' <= letter <= '~' else '.' for letter in text)


class PlainLoader(yaml.SafeLoader):
    """PyYAML speaks YAML 1.1, where `yes`, `010` and `22:30` are something else than they look."""

    yaml_implicit_resolvers = {}

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise Refusal('NOT_YAML', 'an alias is used; write the value out')
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.tag != 'tag:yaml.org,2002:str':
                raise Refusal('NOT_YAML', f'line {key.start_mark.line + 1}: a key that is no text')
            if key.value in seen:
                raise Refusal('NOT_YAML', f'line {key.start_mark.line + 1}: {key.value} is there twice')
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def whole_number(loader, node):
    return int(loader.construct_scalar(node), 10)


PlainLoader.add_constructor('tag:yaml.org,2002:int', whole_number)
for tag, pattern, first in (
    ('bool', r'^(?:true|True|TRUE|false|False|FALSE)$', 'tTfF'),
    ('null', r'^(?:~|null|Null|NULL|)$', ['~', 'n', 'N', '']),
    ('int', r'^[-+]?[0-9]+$', '-+0123456789'),
    ('float', r'^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$', '-+0123456789.'),
):
    PlainLoader.add_implicit_resolver('tag:yaml.org,2002:' + tag, re.compile(pattern), list(first))


def read_yaml(path):
    try:
        with open(path, 'rb') as file:
            data = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise Refusal('NO_PILLAR', f'{path} is missing: copy farm.example.yaml to it and describe your farm there') from None
    except OSError as error:
        raise Refusal('NO_PILLAR', f'{path}: {error.strerror}') from None
    if len(data) > SIZE_LIMIT:
        raise Refusal('NOT_YAML', f'{path} is larger than {SIZE_LIMIT} bytes')
    try:
        return yaml.load(data.decode('utf-8'), Loader=PlainLoader)
    except yaml.MarkedYAMLError as error:
        place = f'line {error.problem_mark.line + 1}: ' if error.problem_mark else ''
        raise Refusal('NOT_YAML', f'{place}{error.problem}') from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refusal('NOT_YAML', str(error).splitlines()[0]) from None


TYPES = {
    'string': lambda value: isinstance(value, str),
    'integer': lambda value: isinstance(value, int) and not isinstance(value, bool),
    'boolean': lambda value: isinstance(value, bool),
    'null': lambda value: value is None,
    'array': lambda value: isinstance(value, list),
    'object': lambda value: isinstance(value, dict),
}


def fits_pattern(pattern, value):
    # "$" of JavaScript is the very end; Python's also stands before a last newline.
    return re.search(pattern.replace('$', r'\Z'), value, re.ASCII) is not None


def title_of(schema):
    """What a person reads when a value does not fit."""
    if 'title' in schema:
        return schema['title']
    if 'enum' in schema:
        return f'one of {", ".join(schema["enum"])}'
    if schema['type'] == 'integer':
        return f'a whole number from {schema["minimum"]} to {schema["maximum"]}'
    if schema['type'] == 'object':
        return 'a mapping with at least one entry' if 'minProperties' in schema else 'a mapping'
    return {'boolean': 'true or false', 'array': 'a list'}.get(schema['type'], 'as it should be')


def check_shape(schema, value, field=()):
    """The part of JSON Schema that schema.json uses; any other word in it is a fault. Raises Refusal for the first thing wrong."""
    def refuse():
        raise Refusal('BAD_VALUE', f'is not {title_of(schema)}', '.'.join(field))

    known = {'type', 'title', 'pattern', 'minimum', 'maximum', 'maxLength', 'enum', 'anyOf', 'items', 'minItems', 'uniqueItems',
             'additionalProperties', 'properties', 'required', 'propertyNames', 'minProperties'}
    strange = set(schema) - known
    if strange:
        raise RuntimeError(f'schema.json uses {sorted(strange)}')
    if 'anyOf' in schema:
        for one in schema['anyOf']:
            try:
                return check_shape(one, value, field)
            except Refusal:
                continue
        refuse()
    if 'enum' in schema and value not in schema['enum']:
        refuse()
    if 'type' in schema and not TYPES[schema['type']](value):
        refuse()
    if isinstance(value, str):
        if len(value) > schema.get('maxLength', len(value)) or not fits_pattern(schema.get('pattern', ''), value):
            refuse()
    elif isinstance(value, int) and not isinstance(value, bool):
        if not schema.get('minimum', value) <= value <= schema.get('maximum', value):
            refuse()
    elif isinstance(value, list):
        if len(value) < schema.get('minItems', 0):
            refuse()
        for place, item in enumerate(value):
            check_shape(schema.get('items', {}), item, (*field, str(place)))
        if schema.get('uniqueItems') and any(item in value[:place] for place, item in enumerate(value)):
            raise Refusal('BAD_VALUE', 'holds the same entry twice', '.'.join(field))
    elif isinstance(value, dict):
        check_mapping(schema, value, field, refuse)


def check_mapping(schema, value, field, refuse):
    properties = schema.get('properties', {})
    for name in schema.get('required', []):
        if name not in value:
            raise Refusal('MISSING_FIELD', 'is missing', '.'.join((*field, name)))
    if len(value) < schema.get('minProperties', 0):
        refuse()
    for name, content in value.items():
        if 'propertyNames' in schema:
            check_shape(schema['propertyNames'], name, (*field, name))
        rest = schema.get('additionalProperties', {})
        if name not in properties and rest is False:
            raise Refusal('UNKNOWN_FIELD', 'is not a known field', '.'.join((*field, name)))
        check_shape(properties.get(name, rest if isinstance(rest, dict) else {}), content, (*field, name))


def read_schema(path):
    """The schema, with what its $refs lead to in their place."""
    def followed(part):
        if isinstance(part, list):
            return [followed(one) for one in part]
        if not isinstance(part, dict):
            return part
        if '$ref' in part:
            return followed(definitions[part['$ref'].removeprefix('#/$defs/')])
        return {name: followed(one) for name, one in part.items()}

    with open(path, encoding='utf-8') as file:
        whole = json.load(file)
    definitions = whole.pop('$defs')
    del whole['$comment']
    return followed(whole)


def read_farm_file(path):
    """What stands under farm.yaml's one top key `build-infra`, not yet checked. Raises Refusal."""
    document = read_yaml(path)
    if not isinstance(document, dict) or list(document) != ['build-infra']:
        raise Refusal('BAD_VALUE', 'a pillar has the one top key build-infra')
    return document['build-infra']
