"""A git server over HTTP for a test: git's own http-backend behind Python's CGI. Prints its port.

Repositories are those of the folder it is given. Below /private it wants the user "ada" with the password
"s3cret".
"""
import base64, os, stat, sys, tempfile
from http.server import CGIHTTPRequestHandler, ThreadingHTTPServer

root = os.path.abspath(sys.argv[1])
here = tempfile.mkdtemp()
os.makedirs(os.path.join(here, "cgi-bin"))
script = os.path.join(here, "cgi-bin", "git")
with open(script, "w") as file:
    file.write(f"#!/bin/sh\nGIT_PROJECT_ROOT='{root}' GIT_HTTP_EXPORT_ALL=1 exec git http-backend\n")
os.chmod(script, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
os.chmod(here, 0o755)
os.chdir(here)


class Handler(CGIHTTPRequestHandler):
    have_fork = False

    def allowed(self):
        # Python's CGI says 200 whatever the program says.
        repository = self.path.removeprefix("/cgi-bin/git/").split(".git/")[0] + ".git"
        if not os.path.exists(os.path.join(root, repository)):
            self.send_error(404)
            return False
        known = "Basic " + base64.b64encode(b"ada:s3cret").decode()
        if "/private" not in self.path or self.headers.get("Authorization") == known:
            return True
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def do_GET(self):
        self.path = "/cgi-bin/git" + self.path
        self.allowed() and super().do_GET()

    def do_POST(self):
        self.path = "/cgi-bin/git" + self.path
        self.allowed() and super().do_POST()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
