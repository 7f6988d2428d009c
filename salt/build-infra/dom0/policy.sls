# SPDX-License-Identifier: GPL-2.0-or-later
# The policy comes before the VMs: a VM that exists without it would be ruled by what dom0 says to everybody. One mistake in a policy file denies
# every call of the whole machine, so it is read by the linter before it takes the place of the old one.
{%- import_yaml 'build-infra/manifests/dom0.yaml' as manifest %}
{%- set infra = salt['pillar.get']('build-infra', {}) %}
{%- set this = infra.this %}
{%- set borrowed = infra.vms|rejectattr('managed')|map(attribute='name')|list %}
{%- for file in manifest.vm.files %}
build-infra {{ file.path }}:
  file.managed:
    - name: {{ file.path }}
    - source: salt://build-infra/{{ file.template }}
    - template: jinja
    - context: {{ {'infra': infra, 'vm': this.name, 'env': '', 'enabled': this.enabled}|json }}
    - user: {{ file.owner }}
    - group: {{ file.group }}
    - mode: '{{ file.mode }}'
    - follow_symlinks: False
    {%- if file.path.endswith('.policy') %}
    # By its name the linter knows a policy file.
    - check_cmd: qubes-policy-lint
    - tmp_ext: .policy
    {%- endif %}
    # Nobody may require this before its turn: Salt 3007 crashes where a failhard state fails while another one is waiting for it.
    - failhard: True
    {%- if borrowed %}
    - require:
      {%- for name in borrowed %}
      - test: build-infra template of {{ name }}
      {%- endfor %}
    {%- endif %}
{%- endfor %}

build-infra policy is in place:
  test.nop:
    - require:
      {%- for file in manifest.vm.files %}
      - file: build-infra {{ file.path }}
      {%- endfor %}
