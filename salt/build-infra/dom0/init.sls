# SPDX-License-Identifier: GPL-2.0-or-later
# dom0's part, one file per matter, in the order of its requisites: what stops the run stands before what waits for it.
include:
{%- if salt['pillar.get']('build-infra:this:role', '') == 'dom0' %}
  - build-infra.dom0.templates
  - build-infra.dom0.net-vm
  - build-infra.dom0.policy
  - build-infra.dom0.vms
  - build-infra.dom0.defaults
  - build-infra.dom0.volumes
  - build-infra.dom0.removed
{%- else %}
  - build-infra.refused
{%- endif %}
