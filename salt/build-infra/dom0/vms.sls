# SPDX-License-Identifier: GPL-2.0-or-later
# The VMs that the pillar makes. `present` looks at a VM only when it makes it; what may change later stands under prefs.
{%- from 'build-infra/roles.jinja' import features, tags with context %}
{%- for vm in salt['pillar.get']('build-infra:vms', []) if vm.managed %}
build-infra vm {{ vm.name }}:
  qvm.vm:
    - name: {{ vm.name }}
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
      {%- for name in ['memory', 'maxmem', 'vcpus'] if vm.get(name) is not none %}
      - {{ name }}: {{ vm[name] }}
      {%- endfor %}
    - features:
      - enable: {{ vm.features|json }}
      - default: {{ features|reject('in', vm.features)|list|json }}
    - tags:
      - add: {{ vm.tags|json }}
      - del: {{ tags|reject('in', vm.tags)|list|json }}
    - require:
      - qvm: build-infra template {{ vm.template }}
      - test: build-infra policy is in place
{%- endfor %}
