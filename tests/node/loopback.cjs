// Loaded into kinesis-local before its own code (node --require). By itself it would listen on every address of the
// machine, and it doesn't say which port it got when it takes a free one: here every server gets a free port on
// loopback, and says so together with the port it was meant to take, which tells its HTTP from its HTTPS.
"use strict";

const net = require("node:net");

const listen = net.Server.prototype.listen;

net.Server.prototype.listen = function (...args) {
  const [first] = args;
  const wanted = typeof first === "object" && first !== null ? first.port : first;
  const done = args.find((arg) => typeof arg === "function");
  this.once("listening", () => {
    console.error(`${wanted} listens on 127.0.0.1:${this.address().port}`);
  });
  return listen.call(this, { port: 0, host: "127.0.0.1" }, done);
};
