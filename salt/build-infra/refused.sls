# SPDX-License-Identifier: GPL-2.0-or-later
# What dom0 gets instead of everything else when the pillar is refused: one failing state with the one message. qubesctl then ends before it
# touches a VM. A VM into whose pillar another one was merged gets it too.
{%- set infra = salt['pillar.get']('build-infra', {}) or {} %}
{%- set other = 'OTHER_PILLAR another enabled pillar sets build-infra: too, and nothing is merged into ours; "qubesctl top.enabled pillar=True" lists the enabled ones, "grep -rl ^build-infra: /srv/pillar /srv/user_pillar" finds it' %}
{%- set off = 'NO_PILLAR: enable it with "qubesctl top.enable build-infra pillar=True"' %}
{%- set message = infra.get('refused') or (other if 'this' in infra else off) %}
build-infra refused:
  test.fail_without_changes:
    - comment: {{ message|json }}
