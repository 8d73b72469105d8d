"""An OpenID Connect provider for the tests, on Authlib's server side, as an HTTPS process: `python -m tests.console.provider`.

A test states in a file of JSON what the provider shall do wrong; the provider reads the file for each token.
"""

import json
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from joserfc import jwt
from joserfc.jwk import KeySet, OKPKey
from werkzeug.serving import make_server

CLIENT_ID, CLIENT_SECRET, AUDIENCE = "console", "secret-of-the-console", "grounds"
KEY_ID = "k1"
FORM = (
    '<!DOCTYPE html><title>Provider</title><link rel="icon" href="data:,">'
    '<form method="post"><label>Name <input name="name"></label><button>Allow</button></form>'
)


class ConsoleClient(ClientMixin):
    """The console, as registered."""

    def __init__(self, redirect_uris: list[str]) -> None:
        self._redirect_uris = redirect_uris

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> str:
        return self._redirect_uris[0]

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self._redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in {"authorization_code", "refresh_token"}


class Code(AuthorizationCodeMixin):
    """A code that was issued."""

    def __init__(self, request: Any) -> None:
        payload = request.payload
        self.redirect_uri, self.scope = payload.redirect_uri, payload.scope
        self.nonce = payload.data.get("nonce", "")
        self.code_challenge = payload.data.get("code_challenge")
        self.code_challenge_method = payload.data.get("code_challenge_method")
        self.user = request.user

    def get_redirect_uri(self) -> str:
        return str(self.redirect_uri)

    def get_scope(self) -> str:
        return str(self.scope)


class RefreshToken(TokenMixin):
    """A refresh token that was issued."""

    def __init__(self, user: Any) -> None:
        self.user = user

    def check_client(self, _client: Any) -> bool:
        return True

    def get_scope(self) -> str:
        return "openid"

    def is_expired(self) -> bool:
        return False

    def is_revoked(self) -> bool:
        return False


class State:
    """What the provider has issued."""

    def __init__(self, issuer: str, redirect_uris: list[str], faults: Path) -> None:
        self.issuer, self.client, self._faults = issuer, ConsoleClient(redirect_uris), faults
        self.grants: Counter[str] = Counter()
        self.codes: dict[str, Code] = {}
        self.refresh_tokens: dict[str, RefreshToken] = {}
        self.key = OKPKey.generate_key("Ed25519", {"kid": KEY_ID, "use": "sig", "alg": "EdDSA"})

    def fault(self, name: str, default: Any) -> Any:
        return json.loads(self._faults.read_text()).get(name, default)

    def sign(self, claims: dict[str, Any]) -> str:
        now = int(time.time())
        whole = {"iss": self.issuer, "iat": now - 60, "exp": now + 600, **claims}
        return jwt.encode({"alg": "EdDSA", "kid": KEY_ID}, whole, self.key, algorithms=["EdDSA"])

    def tokens(self, user: Any, nonce: str) -> dict[str, Any]:
        lifetime = self.fault("lifetime", 600)
        access = {"sub": self.fault("access_subject", user.name)}
        access |= {"aud": self.fault("access_audience", AUDIENCE), "exp": int(time.time()) + int(lifetime)}
        identity = {"sub": self.fault("id_subject", user.name), "aud": self.fault("id_audience", CLIENT_ID)}
        identity |= {"nonce": self.fault("nonce", nonce), "exp": int(time.time()) + self.fault("id_lifetime", 600)}
        identity |= {"iss": self.fault("id_issuer", self.issuer)}
        name = f"refresh-{time.time_ns()}"
        self.refresh_tokens[name] = RefreshToken(user)
        return {
            "token_type": "Bearer",
            "access_token": self.fault("access_token", self.sign(access)),
            "expires_in": lifetime,
            "refresh_token": self.fault("refresh_token", name),
            "id_token": self.sign(identity),
        }


def make_app(state: State) -> Any:
    """Return the provider."""
    app = flask.Flask("provider")
    server = AuthorizationServer(app, query_client=lambda _name: state.client, save_token=lambda _token, _request: None)
    server.register_grant(code_grant(state), [CodeChallenge(required=True)])
    server.register_grant(refresh_grant(state))
    server.register_token_generator("default", lambda *_args, user, **_rest: state.tokens(user, user.nonce))

    def authorize() -> Any:
        name = flask.request.form.get("name")
        user = SimpleNamespace(name=name) if name else None
        return server.create_authorization_response(grant_user=user, grant=server.get_consent_grant(end_user=user))

    paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
    paths |= {"end_session_endpoint": "signed-out", "revocation_endpoint": "revoke"}
    metadata = {"issuer": state.issuer} | {name: f"{state.issuer}/{path}" for name, path in paths.items()}
    app.add_url_rule("/.well-known/openid-configuration", "metadata", lambda: metadata)
    app.add_url_rule("/keys", "keys", lambda: dict(KeySet([state.key]).as_dict(private=False)))
    app.add_url_rule("/authorize", "form", lambda: FORM)
    app.add_url_rule("/authorize", "authorize", authorize, methods=["POST"])
    add_token_endpoints(app, server, state)
    return app


def add_token_endpoints(app: Any, server: AuthorizationServer, state: State) -> None:
    """Add the pages for programs: tokens, revocation, and the numbers of requests that a test asks for."""

    def issue_tokens() -> Any:
        """Answer a request for tokens, unless there is an outage."""
        state.grants[flask.request.form["grant_type"]] += 1
        match state.fault("outage", ""):
            case "dropped":
                flask.request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                return ""
            case "page":
                return "<!DOCTYPE html><p>Maintenance"
            case "error":
                return {"error": "temporarily_unavailable"}, 400
            case "status":
                return {"error": "invalid_grant"}, 503
        answer = server.create_token_response()
        time.sleep(
            state.fault("seconds", 0)
        )  # the provider knows only the new tokens now, and the console only the old ones
        return answer

    def revoke_token() -> Any:
        """Forget a refresh token, and count it if it was known (RFC 7009)."""
        state.grants["revoked"] += state.refresh_tokens.pop(flask.request.form["token"], None) is not None
        return ""

    app.add_url_rule("/token", "token", issue_tokens, methods=["POST"])
    app.add_url_rule("/revoke", "revoke", revoke_token, methods=["POST"])
    app.add_url_rule("/grants", "grants", lambda: dict(state.grants))


def code_grant(state: State) -> type:
    """Return the grant of the authorisation code flow."""

    class CodeGrant(grants.AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

        def save_authorization_code(self, code: str, request: Any) -> None:
            state.codes[code] = Code(request)

        def query_authorization_code(self, code: str, _client: Any) -> Code | None:
            return state.codes.get(code)

        def delete_authorization_code(self, authorization_code: Code) -> None:
            state.codes = {name: each for name, each in state.codes.items() if each is not authorization_code}

        def authenticate_user(self, authorization_code: Code) -> Any:
            return SimpleNamespace(name=authorization_code.user.name, nonce=authorization_code.nonce)

    return CodeGrant


def refresh_grant(state: State) -> type:
    """Return the grant of the refresh token, which can be used once."""

    class RefreshGrant(grants.RefreshTokenGrant):
        INCLUDE_NEW_REFRESH_TOKEN = True
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

        def authenticate_refresh_token(self, refresh_token: str) -> RefreshToken | None:
            return state.refresh_tokens.pop(refresh_token, None)

        def authenticate_user(self, refresh_token: RefreshToken) -> Any:
            return refresh_token.user

        def revoke_old_credential(self, refresh_token: RefreshToken) -> None:
            """`authenticate_refresh_token` has removed it."""

    return RefreshGrant


def main(port: str, redirect_uris: str, certificate: str, key: str, faults: str, keys: str) -> None:
    """Serve until the process is ended; write the public keys to a file first."""
    state = State(f"https://127.0.0.1:{port}", redirect_uris.split(","), Path(faults))
    Path(keys).write_text(json.dumps(KeySet([state.key]).as_dict(private=False)))
    server = make_server("127.0.0.1", int(port), make_app(state), threaded=True, ssl_context=(certificate, key))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
