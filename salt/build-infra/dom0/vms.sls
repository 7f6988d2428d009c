# SPDX-License-Identifier: GPL-2.0-or-later
# The VMs that the pillar makes. `present` gives a VM the machine's network: a new one loses it, and gets its tag, before anything else can fail.
# What may change later stands under prefs; autostart comes last of all (autostart.sls). The net VM, which is not ours, is told its role, and nothing
# else of it is changed.
{%- from 'build-infra/roles.jinja' import borrowed_tag, features, tags with context %}
{%- for vm in salt['pillar.get']('build-infra:vms', []) %}
{%- set own_tags = vm.tags if vm.managed else vm.tags + [borrowed_tag] %}
{%- if vm.managed %}
build-infra new vm {{ vm.name }}:
  qvm.vm:
    - name: {{ vm.name|json }}
    - actions: [present, prefs, tags]
    - present:
      - class: {{ vm.class }}
      - template: {{ vm.template|json }}
      - label: {{ vm.label }}
    - prefs:
      # Lower case and quoted: None would be taken for the name of a VM.
      - netvm: 'none'
      - default_dispvm: 'none'
    - tags:
      - add: {{ vm.tags|json }}
    - unless:
      - qvm-check --quiet {{ vm.name }}
    - require:
      - qvm: build-infra template {{ vm.template }}
      - test: build-infra policy is in place
{%- endif %}

build-infra vm {{ vm.name }}:
  qvm.vm:
    - name: {{ vm.name|json }}
    {%- if vm.managed %}
    - prefs:
      - template: {{ vm.template|json }}
      - label: {{ vm.label }}
      - netvm: {{ (vm.netvm or 'none')|json }}
      {%- if vm.role != 'build' %}
      # With the underscore: spelled with a dash, qvm.prefs takes none for the name of a VM. A disposable would have the machine's network.
      - default_dispvm: 'none'
      {%- endif %}
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
      - qvm: build-infra new vm {{ vm.name }}
      {%- endif %}
      - test: build-infra policy is in place
{%- endfor %}
