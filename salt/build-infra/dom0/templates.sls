# SPDX-License-Identifier: GPL-2.0-or-later
# Our templates are clones. The stock one is fetched where it is missing, and never changed: others use it.
{%- set templates = salt['pillar.get']('build-infra:template-vms', []) %}
{#- Salt's unique has no order. -#}
{%- for source in templates|map(attribute='source')|unique|sort %}
build-infra source {{ source }}:
  qvm.template_installed:
    - name: {{ source|json }}
    # Whoever removed the stock template after it was cloned does not get it again.
    - unless:
      {%- for template in templates if template.source == source %}
      - qvm-check --quiet {{ template.name }}
      {%- endfor %}
{%- endfor %}

{%- for template in templates %}
build-infra template {{ template.name }}:
  qvm.clone:
    - name: {{ template.name|json }}
    - source: {{ template.source|json }}
    - require:
      - qvm: build-infra source {{ template.source }}

build-infra tag of template {{ template.name }}:
  qvm.tags:
    - name: {{ template.name|json }}
    - add: [build-infra-template]
    - require:
      - qvm: build-infra template {{ template.name }}
{%- endfor %}
