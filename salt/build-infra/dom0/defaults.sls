# SPDX-License-Identifier: GPL-2.0-or-later
# What farm.yaml leaves to Qubes is as Qubes has it, also after farm.yaml once said otherwise. The state qvm.prefs cannot do this: it takes no default for
# a number.
{%- for vm in salt['pillar.get']('build-infra:vms', []) if vm.managed %}
{%- set left = ['memory', 'maxmem', 'vcpus']|reject('in', vm)|list %}
{%- if left %}
build-infra defaults of {{ vm.name }}:
  cmd.run:
    - name: {% for name in left %}qvm-prefs --default {{ vm.name }} {{ name }}{{ '' if loop.last else ' && ' }}{% endfor %}
    - onlyif:
      - qvm-prefs --hide-default {{ vm.name }} | grep -qE '^({{ left|join('|') }}) '
    - require:
      - qvm: build-infra vm {{ vm.name }}
{%- endif %}
{%- endfor %}
