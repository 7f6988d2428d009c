# SPDX-License-Identifier: GPL-2.0-or-later
# qubesctl state.apply build-infra.absent
#   takes VMs that carry our tag and are not in farm.yaml any more out of service: shut down, no autostart, no feature, and at the end no tag.
# qubesctl state.apply build-infra.absent pillar='{"build-infra-remove": "everything"}'
#   the same for every VM of ours, farm.yaml or not.
# No VM and no volume is ever removed, and the policy stays: what it denies protects keys as long as their VM exists.
{%- from 'build-infra/roles.jinja' import borrowed_tag, features, tags with context %}
{%- from 'build-infra/dom0/gone.jinja' import gone_as_json with context %}
{%- from 'build-infra/sealed.jinja' import whole with context %}
{%- set everything = salt['pillar.get']('build-infra-remove', '') == 'everything' %}
{%- if not everything and not (whole and salt['pillar.get']('build-infra:this:role', '') == 'dom0') %}
# Without a pillar every VM would seem to be gone.
include:
  - build-infra.refused
{%- else %}
{%- set wanted = [] if everything else salt['pillar.get']('build-infra:vms', [])|map(attribute='name')|list %}
{%- set gone = gone_as_json(wanted)|load_json %}
{%- if gone.failed %}
build-infra removed VMs cannot be told:
  test.fail_without_changes:
    - comment: {{ gone.failed|json }}
{%- endif %}
{%- for vm in gone.vms %}
build-infra absent {{ vm.name }}:
  qvm.vm:
    - name: {{ vm.name|json }}
    # The tag goes last: a run that stops half way finds the VM again.
    {%- if vm.borrowed %}
    # It was there before us and works for others.
    - actions: [features, tags]
    {%- else %}
    - actions: [shutdown, prefs, features, tags]
    - shutdown: []
    - prefs:
      - autostart: false
    {%- endif %}
    - features:
      - default: {{ features|json }}
    - tags:
      # By this one the policy goes on denying the ways to its key and out of it.
      - del: {{ tags|reject('equalto', 'build-infra-keys')|list|json }}

build-infra what is left of {{ vm.name }}:
  test.show_notification:
    {%- if vm.borrowed %}
    - text: '{{ vm.name }} works on without our services from its next start on. Its files of ours stay in /rw/config/build-infra.'
    {%- else %}
    - text: '{{ vm.name }} is out of service, its data untouched. Once you have what you need of it: qvm-remove {{ vm.name }}'
    {%- endif %}
    - require:
      - qvm: build-infra absent {{ vm.name }}
{%- endfor %}
{%- if not gone.failed and not gone.vms %}
build-infra nothing to take away:
  test.nop
{%- endif %}
{%- endif %}
