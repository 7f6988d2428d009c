# SPDX-License-Identifier: GPL-2.0-or-later
# Last: a VM with whose settings something went wrong does not start with the machine.
{%- for vm in salt['pillar.get']('build-infra:vms', []) if vm.managed %}
build-infra autostart of {{ vm.name }}:
  qvm.prefs:
    - name: {{ vm.name|json }}
    - autostart: {{ vm.autostart|json }}
    - require:
      - qvm: build-infra vm {{ vm.name }}
      {%- if ['memory', 'maxmem', 'vcpus']|reject('in', vm)|list %}
      - cmd: build-infra defaults of {{ vm.name }}
      {%- endif %}
      - cmd: build-infra private volume of {{ vm.name }}
{%- endfor %}
