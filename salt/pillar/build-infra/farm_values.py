# SPDX-License-Identifier: GPL-2.0-or-later
"""What no text of farm.yaml may be, wherever it stands: a secret, or a key of the example."""
import re

from farm_file import Refusal

# The shipped example's: fingerprints and a journal key whose secret halves were thrown away.
EXAMPLE_KEYS = {
    '959FF0BA783C2887E5AF23E17567AB25712AACB5',
    '7B8E947132A9A3B9D8463CFD99BB92B08104097D',
    'C8A5F4F192E076E42610D5B578CB8B96440FCE84',
    '0E6FA9BDE69F6658FB12AAA8EBEF4EF4B461FB9D',
    '94ee7c0e989ab893fc029c97a6377bc0769315a68305c51d55c422a5ec35bdf8',
}
# Of GitHub and GitLab; what other forges call a token looks like anything.
TOKEN = re.compile(r'gh[a-z]_[A-Za-z0-9]{20}|github_pat_[A-Za-z0-9_]{20}|gl[a-z]{2,5}-[A-Za-z0-9_-]{20}')
# `ssh://git@HOST` names an account; everywhere else what stands before the @ is a secret.
CREDENTIALS = re.compile(r'ssh://[^/?#]*:[^/?#]*@|(?!ssh:)[a-z]+://[^/?#]*@')
PARAMETER = re.compile(r'[?&](?:[a-z_-]*token|password|secret|api_?key)=', re.IGNORECASE)


def check_values(value, field=()):
    """Raises Refusal SECRET_IN_PILLAR or EXAMPLE_KEY, for the first one."""
    if isinstance(value, str):
        check_text(value, '.'.join(field))
    elif isinstance(value, list):
        for place, one in enumerate(value):
            check_values(one, (*field, str(place)))
    elif isinstance(value, dict):
        for name, one in value.items():
            if name in EXAMPLE_KEYS:
                refuse_example('.'.join((*field, name)))
            check_values(one, (*field, name))


def check_text(text, field):
    if text in EXAMPLE_KEYS:
        refuse_example(field)
    if CREDENTIALS.match(text):
        raise Refusal('SECRET_IN_PILLAR', 'the address holds a password or token; secrets are made inside the VM that uses them', field)
    if TOKEN.search(text) or PARAMETER.search(text):
        raise Refusal('SECRET_IN_PILLAR', 'holds a token; secrets are made inside the VM that uses them', field)


def refuse_example(field):
    raise Refusal('EXAMPLE_KEY', 'is a key of the example, whose secret half nobody has: null until a VM of yours has made its own, and the keys of your own people', field)
