# SPDX-License-Identifier: GPL-2.0-or-later
# A VM's own part, all of it on its private volume: services, and configuration made from the pillar. Takes effect at the next start of the VM.
{%- from 'build-infra/entries.jinja' import absent_state, file_state, folder_state with context %}
{%- from 'build-infra/sealed.jinja' import whole with context %}
{%- if not whole %}
include:
  - build-infra.refused
{%- else %}
{%- set infra = salt['pillar.get']('build-infra', {}) %}
{%- set this = infra.this %}
{%- set context = {'infra': infra, 'vm': this.name, 'env': this.env, 'enabled': this.enabled} %}
{%- import_yaml 'build-infra/manifests/' ~ this.role ~ '.yaml' as manifest %}
{%- set folders = manifest.vm.get('folders', []) %}
{%- set persistent = {'test': 'build-infra persistence'} %}

# With custom-persist nothing of what follows would outlive the VM, and the run would still look green.
build-infra persistence:
  test.fail_without_changes:
    - comment: {{ this.name }} has the service custom-persist, so /home, /usr/local and /rw/config would not be kept or not be used. Take it away with "qvm-service --default {{ this.name }} custom-persist", restart the VM, and run this again.
    - onlyif:
      - test -e /run/qubes-service/custom-persist
    - failhard: True

{#- Parents that are not listed are root's, whoever owns the folder. #}
{%- set listed = folders|map(attribute='path')|list %}
{%- set parents = [] %}
{%- for folder in folders %}
{%- set parent = folder.path.rpartition('/')[0] %}
{%- if parent not in listed and parent not in parents %}
{%- do parents.append(parent) %}
{{ folder_state('build-infra parent ' ~ parent, {'path': parent, 'owner': 'root', 'group': 'root', 'mode': '0755'}, [persistent]) }}
{%- endif %}
{%- endfor %}

{%- for folder in folders %}
{%- set parent = folder.path.rpartition('/')[0] %}
{{ folder_state('build-infra ' ~ folder.path, folder, [persistent, {'file': 'build-infra ' ~ ('' if parent in listed else 'parent ') ~ parent}]) }}
{%- endfor %}

{#- A file needs its folder where the manifest names it. #}
{%- for file in manifest.vm.files %}
{%- set missing = file.get('needs', [])|select('in', this['needs-missing'])|list %}
{%- set parent = file.path.rpartition('/')[0] %}
{%- set require = [persistent] + ([{'file': 'build-infra ' ~ parent}] if parent in listed else []) %}
{%- if file.when is defined and file.when not in this.enabled %}
{{ absent_state(file.path, require) }}
{%- elif missing %}
{{ absent_state(file.path, require) }}
build-infra {{ file.path }} waits:
  test.show_notification:
    - text: '{{ file.path }} waits for {{ missing|join(', ') }} in farm.yaml: make it in its VM with /usr/lib/build-infra/make-keys'
{%- else %}
{{ file_state(file, context, require) }}
{%- endif %}
{%- endfor %}

{%- set public = '/rw/config/build-infra/public-keys' %}
{%- set fingerprints = [] %}
{%- for word in manifest.vm.get('public-keys', []) %}
{%- set named = this['keys'].get(word) or [] %}
{%- do fingerprints.extend([named] if named is string else named) %}
{%- endfor %}
{%- for fingerprint in fingerprints|unique|sort %}
build-infra {{ public }}/{{ fingerprint }}.asc:
  file.managed:
    - name: {{ public }}/{{ fingerprint }}.asc
    - contents_pillar: build-infra:public-keys:{{ fingerprint }}
    - contents_newline: {{ infra['public-keys'][fingerprint].endswith('\n')|json }}
    - user: root
    - group: root
    - mode: '0644'
    - follow_symlinks: False
    - require:
      - file: build-infra {{ public }}
{%- endfor %}

{#- Whoever is no longer a maintainer, a key that was replaced. It must not require its own folder: what is in a required folder would be kept. #}
{%- for folder in folders if folder.path == public %}
{%- set keep = [] %}
{%- for fingerprint in fingerprints|unique|sort %}
{%- do keep.append({'file': 'build-infra ' ~ public ~ '/' ~ fingerprint ~ '.asc'}) %}
{%- endfor %}
{{ folder_state('build-infra no other public keys', folder, keep + [persistent], clean=True) }}
{%- endfor %}
{%- endif %}
