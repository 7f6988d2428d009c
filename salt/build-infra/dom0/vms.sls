# SPDX-License-Identifier: GPL-2.0-or-later
# The VMs that the pillar makes. `present` looks at a VM only when it makes it; what may change later stands under prefs.
# The net VM, which is not ours, is told its role, and nothing else of it is changed.
{%- from 'build-infra/roles.jinja' import borrowed_tag, features, tags with context %}
{%- for vm in salt['pillar.get']('build-infra:vms', []) %}
{%- set own_tags = vm.tags if vm.managed else vm.tags + [borrowed_tag] %}
build-infra vm {{ vm.name }}:
  qvm.vm:
    - name: {{ vm.name }}
    {%- if vm.managed %}
    - present:
      - class: {{ vm.class }}
      - template: {{ vm.template }}
      - label: {{ vm.label }}
    - prefs:
      - template: {{ vm.template }}
      - label: {{ vm.label }}
      # Lower case and quoted: None would be taken for the name of a VM.
      - netvm: {{ (vm.netvm or 'none')|json }}
      - autostart: {{ vm.autostart|json }}
      {%- for name in ['memory', 'maxmem', 'vcpus'] if name in vm %}
      - {{ name }}: {{ vm[name] }}
      {%- endfor %}
    {%- endif %}
    - features:
      - enable: {{ vm.features|json }}
      - default: {{ features|reject('in', vm.features)|list|json }}
    - tags:
      - add: {{ own_tags|json }}
      - del: {{ tags|reject('in', own_tags)|list|json }}
    - require:
      {%- if vm.managed %}
      - qvm: build-infra template {{ vm.template }}
      {%- endif %}
      - test: build-infra policy is in place
{%- endfor %}
