#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Run by qubes.PostInstall in a template, which commits afterwards: tells dom0 which services its VMs may switch on.
exec qvm-features-request \
  supported-service.build-infra-build=1 \
  supported-service.build-infra-keys=1 \
  supported-service.build-infra-build-logs=1 \
  supported-service.build-infra-sys-net=1
