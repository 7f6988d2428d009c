# SPDX-License-Identifier: GPL-2.0-or-later
# What dom0 gets instead of everything else when the pillar is refused: one failing state with the one message. qubesctl then ends before it
# touches a VM.
{%- set message = salt['pillar.get']('build-infra:refused', '') or 'NO_PILLAR: enable it with "qubesctl top.enable build-infra pillar=True"' %}
build-infra refused:
  test.fail_without_changes:
    - comment: {{ message|json }}
