# SPDX-License-Identifier: GPL-2.0-or-later
# Private volumes only grow: one that somebody made larger by hand stays as it is.
{%- for vm in salt['pillar.get']('build-infra:vms', []) if vm.managed and vm.get('private-size') %}
build-infra private volume of {{ vm.name }}:
  cmd.run:
    - name: qvm-volume resize {{ vm.name }}:private {{ vm['private-size'] }}
    - unless:
      - test "$(qvm-volume info {{ vm.name }}:private size)" -ge {{ vm['private-size'] }}
    - require:
      - qvm: build-infra vm {{ vm.name }}
{%- endfor %}
