# SPDX-License-Identifier: GPL-2.0-or-later
"""The peer of the webhook's bench: a Flask application of the shape that upstream's has. It checks the HMAC, calls each build VM while GitHub waits, and answers 200."""
import hashlib
import hmac
import os
import subprocess

import flask

SECRET = os.environ['PEER_SECRET'].encode()
CLIENT = os.environ['PEER_CLIENT']
BUILD_VMS = os.environ['PEER_BUILD_VMS'].split()

application = flask.Flask(__name__)


@application.post('/github')
def webhook():
    body = flask.request.get_data()
    signed = 'sha256=' + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signed, flask.request.headers.get('X-Hub-Signature-256', '')):
        flask.abort(403)
    component = flask.request.get_json()['repository']['name'].removeprefix('qubes-')
    for vm in BUILD_VMS:
        subprocess.run([CLIENT, vm, f'qubesbuilder.TriggerBuild+{component}'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    return '', 200
