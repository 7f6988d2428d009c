# SPDX-License-Identifier: GPL-2.0-or-later
# The VM with network is not ours: it exists, and holds devices. It must be based on a template of ours; to change that, it has to be shut down, and
# with it every VM behind it: a person does that.
{%- set templates = salt['pillar.get']('build-infra:template-vms', [])|map(attribute='name')|list %}
{%- for vm in salt['pillar.get']('build-infra:vms', []) if not vm.managed %}
build-infra template of {{ vm.name }}:
  test.fail_without_changes:
    - comment: >-
        {{ vm.name }} (net-vm in farm.yaml) is based on none of our templates ({{ templates|join(', ') }}), so it would have none of our programs.
        Run: qubesctl --skip-dom0 --targets {{ vm.template }} state.highstate
        && qvm-shutdown --wait --force {{ vm.name }} && qvm-prefs {{ vm.name }} template {{ vm.template }} && qvm-start {{ vm.name }};
        then this again.
    - unless:
      - qvm-prefs {{ vm.name }} template | grep -qxF{% for name in templates %} -e {{ name }}{% endfor %}
    - failhard: True
    - require:
      {%- for name in templates %}
      - qvm: build-infra template {{ name }}
      {%- endfor %}
{%- endfor %}
