# SPDX-License-Identifier: GPL-2.0-or-later
# dom0's part, one file per matter, in the order of its requisites: what stops the run stands before what waits for it. What can be seen beforehand stops
# it before anything is touched.
{%- from 'build-infra/sealed.jinja' import whole with context %}
{%- set ours = whole and salt['pillar.get']('build-infra:this:role', '') == 'dom0' %}
{%- set obstacles = salt['slsutil.renderer']('salt://build-infra/dom0/obstacles.py').lines if ours else [] %}
{%- if obstacles %}
{%- for line in obstacles %}
build-infra obstacle {{ loop.index }}:
  test.fail_without_changes:
    - comment: {{ line|json }}
{%- endfor %}
{%- else %}
include:
{%- if ours %}
  - build-infra.dom0.templates
  - build-infra.dom0.net-vm
  - build-infra.dom0.policy
  - build-infra.dom0.vms
  - build-infra.dom0.defaults
  - build-infra.dom0.volumes
  - build-infra.dom0.autostart
  - build-infra.dom0.removed
{%- else %}
  - build-infra.refused
{%- endif %}
{%- endif %}
