"""Who a worker is, at a moto server, which nobody here wrote: roles, policies, and credentials as pods get them.

identity.py role ENDPOINT NAME POLICY     makes a role with the policy of a file; prints its ARN as JSON
identity.py enforce ENDPOINT              from now on signatures and policies are checked
identity.py agent ENDPOINT ARN TOKEN      serves EKS Pod Identity's credentials for the role to whoever brings the token;
                                          says where on stderr, and a line for each time that it handed any out
"""

import datetime
import http.server
import json
import sys
import urllib.request

import boto3

# Clients of S3 renew five minutes before the end, so that these are renewed after a few seconds.
LIFETIME = datetime.timedelta(seconds=304)

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def role(endpoint, name, policy):
    iam = boto3.client("iam", endpoint_url=endpoint, region_name="us-east-1")
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    with open(policy, encoding="utf-8") as document:
        iam.put_role_policy(RoleName=name, PolicyName="worker", PolicyDocument=document.read())
    return {"arn": made["Role"]["Arn"]}


def enforce(endpoint):
    request = urllib.request.Request(
        f"{endpoint}/moto-api/reset-auth", data=b"0", method="POST", headers={"Content-Type": "text/plain"}
    )
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def agent(endpoint, arn, token):
    sts = boto3.client("sts", endpoint_url=endpoint, region_name="us-east-1")
    issued = sts.assume_role(RoleArn=arn, RoleSessionName="pod")["Credentials"]

    class Agent(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path == "/v1/credentials" and self.headers["Authorization"] == token
            expires = datetime.datetime.now(datetime.timezone.utc) + LIFETIME
            body = json.dumps(
                {
                    "AccessKeyId": issued["AccessKeyId"],
                    "SecretAccessKey": issued["SecretAccessKey"],
                    "Token": issued["SessionToken"],
                    "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
            ).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body) if known else 0))
            self.end_headers()
            if known:
                self.wfile.write(body)
            print("handed out" if known else "refused", file=sys.stderr, flush=True)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Agent)
    url = f"http://127.0.0.1:{server.server_port}/v1/credentials"
    print(json.dumps({"url": url}), file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    print(json.dumps({"role": role, "enforce": enforce, "agent": agent}[command](*arguments)))
