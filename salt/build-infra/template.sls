# SPDX-License-Identifier: GPL-2.0-or-later
# A template of ours: the packages, programs and units of every role that is based on it. Each unit waits for the feature of its VM, so a VM starts
# what it has the feature for and nothing else.
{%- from 'build-infra/entries.jinja' import absent_state, file_state with context %}
{%- from 'build-infra/roles.jinja' import roles with context %}
{%- from 'build-infra/sealed.jinja' import whole with context %}
{%- if not whole %}
include:
  - build-infra.refused
{%- else %}
{%- set this = salt['pillar.get']('build-infra:this', {}) %}
{%- set packages = [] %}
{%- set wanted = {} %}
{%- set known = [] %}
{%- for role in roles %}
{%- import_yaml 'build-infra/manifests/' ~ role ~ '.yaml' as manifest %}
{%- do known.extend(manifest.template.files|map(attribute='path')) %}
{%- for here in this.get('roles', []) if here.role == role %}
{%- do packages.extend(manifest.template.packages[this.family]) %}
{%- for file in manifest.template.files if file.when is not defined or file.when in here.enabled %}
{%- do wanted.update({file.path: file}) %}
{%- endfor %}
{%- endfor %}
{%- endfor %}

build-infra family of the template:
{%- if grains['os_family'] == this.get('family', '') %}
  test.nop
{%- else %}
  test.fail_without_changes:
    - comment: farm.yaml says that this template is of the family {{ this.get('family', '') }}, and it is of the family {{ grains['os_family'] }}
    - failhard: True
{%- endif %}

{%- if packages %}
build-infra packages:
  pkg.installed:
    - pkgs: {{ packages|unique|sort|json }}
    {%- if this.family == 'Debian' %}
    - install_recommends: False
    {%- endif %}
    - require:
      - test: build-infra family of the template
{%- endif %}

{%- for path in wanted|sort %}
{{ file_state(wanted[path], {'infra': {}, 'vm': this.name, 'env': '', 'enabled': []}, [{'pkg': 'build-infra packages'}]) }}
{%- endfor %}

{#- Roles that moved to another template, options that were switched off. #}
{%- for path in known|unique|sort if path not in wanted %}
{{ absent_state(path, [{'test': 'build-infra family of the template'}]) }}
{%- endfor %}
{%- endif %}
