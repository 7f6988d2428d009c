# SPDX-License-Identifier: GPL-2.0-or-later
# A VM that we made and that the pillar no longer names is only reported: its volume may hold the one copy of a key or a journal.
{%- from 'build-infra/dom0/gone.jinja' import gone_as_json with context %}
{%- set gone = gone_as_json(salt['pillar.get']('build-infra:vms', [])|map(attribute='name')|list)|load_json %}
{%- if gone.failed %}
build-infra removed VMs cannot be told:
  test.fail_without_changes:
    - comment: {{ gone.failed|json }}
{%- endif %}
{%- for vm in gone.vms %}
build-infra removed vm {{ vm.name }}:
  test.show_notification:
    - text: '{{ vm.name }} is not in farm.yaml any more. To take it out of service, its data untouched, run: qubesctl state.apply build-infra.absent'
{%- endfor %}
