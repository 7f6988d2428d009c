# SPDX-License-Identifier: GPL-2.0-or-later
# Real dnf, in one process for many repositories: reads lines of JSON {name, url, key, root}, answers one each: {"sha256": hex} of the package
# that dnf downloaded and found to be signed, or {"refused": why}.
import hashlib, json, os, shutil, sys
import dnf, dnf.conf, dnf.repo

for line in sys.stdin:
    asked = json.loads(line)
    answer = {}
    try:
        shutil.rmtree(asked["root"], ignore_errors=True)
        os.makedirs(asked["root"] + "/cache")
        base = dnf.Base(dnf.conf.Conf())
        conf = base.conf
        conf.installroot, conf.cachedir, conf.persistdir = asked["root"], asked["root"] + "/cache", asked["root"] + "/persist"
        conf.assumeyes, conf.plugins, conf.substitutions["releasever"] = True, False, "41"
        repo = dnf.repo.Repo("farm", conf)
        repo.baseurl, repo.gpgkey, repo.gpgcheck, repo.repo_gpgcheck = [asked["url"]], ["file://" + asked["key"]], True, True
        repo.skip_if_unavailable, repo.retries, repo.timeout, repo.minrate, repo.max_parallel_downloads = False, 1, 5, 1, 1
        base.repos.add(repo)
        base.fill_sack(load_system_repo=False)
        package = base.sack.query().available().filter(name=asked["name"]).latest().run()[0]
        base.download_packages([package])
        code, why = base.package_signature_check(package)
        if code == 1:
            base.package_import_key(package, askcb=lambda *_: True)
            code, why = base.package_signature_check(package)
        if code != 0:
            raise Exception("signature: " + str(why))
        with open(package.localPkg(), "rb") as file:
            answer["sha256"] = hashlib.sha256(file.read()).hexdigest()
        base.close()
    except Exception as error:
        answer = {"refused": str(error)[:300]}
    print(json.dumps(answer), flush=True)
