// Calls a Grounds server: scores a customer, pages through a churn list, reads an export, and shows what an error carries.
//
//   node client.js [ADDRESS [MARKET CUSTOMER UNITS CURRENCY [CHURN_MARKET]]]

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { tableFromIPC } from "apache-arrow";

const [address = "127.0.0.1:50051", market = "TW", customerId = "1", units = "120000", currency = "TWD", churnMarket = "US"] =
  process.argv.slice(2);
const contract = process.env.GROUNDS_CONTRACT ?? fileURLToPath(new URL("../../dist/contract", import.meta.url));
const files = ["grounds/credit/v1/credit.proto", "grounds/churn/v1/churn.proto"];
const errorFiles = ["google/rpc/status.proto", "google/rpc/error_details.proto"];
const definition = loadSync([...files, ...errorFiles], {
  includeDirs: [`${contract}/proto`],
  keepCase: true,
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});
const { grounds } = grpc.loadPackageDefinition(definition);
const credentials = readCredentials();
const credit = new grounds.credit.v1.CreditService(address, credentials);
const churn = new grounds.churn.v1.ChurnService(address, credentials);

/** Returns the credentials of GROUNDS_CA, GROUNDS_CERTIFICATE and GROUNDS_KEY, or GROUNDS_TOKEN_FILE; without GROUNDS_CA, plaintext. */
function readCredentials() {
  const { GROUNDS_CA: ca, GROUNDS_CERTIFICATE: certificate, GROUNDS_KEY: key, GROUNDS_TOKEN_FILE: tokenFile } = process.env;
  if (!ca) return grpc.credentials.createInsecure();
  const read = (path) => (path ? readFileSync(path) : null);
  const channel = grpc.credentials.createSsl(read(ca), read(key), read(certificate));
  if (!tokenFile) return channel;
  const token = grpc.credentials.createFromMetadataGenerator((_, callback) => {
    const metadata = new grpc.Metadata();
    metadata.set("authorization", `Bearer ${readFileSync(tokenFile, "ascii").trim()}`); // read again for each call
    callback(null, metadata);
  });
  return grpc.credentials.combineChannelCredentials(channel, token);
}

/** Calls a unary method; rejects with the ServiceError of a failed call. */
function call(client, method, request) {
  const deadline = Date.now() + 5000;
  return new Promise((resolve, reject) => {
    client[method](request, { deadline }, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

/** Scores a customer and prints the points, which add up to the score, and the reasons. */
async function score() {
  const { credit_decision: decided } = await call(credit, "ScoreCredit", {
    request_id: randomUUID(), // a retry repeats it, and gets the same answer
    customer: { market, customer_id: customerId },
    requested_amount: { currency_code: currency, units: Number(units) },
  });
  const { model_output: output, explanation, reasons } = decided.assessment;
  const decision = decided.decision.replace("DECISION_", "");
  console.log(`decision ${decision} score ${output.score} grade ${output.grade} pd ${output.pd.toFixed(4)}`);
  let sum = explanation.base_points;
  console.log(`  ${sum} baseline`);
  for (const { feature, points } of explanation.contributions) {
    console.log(`  ${points} ${feature}`);
    sum += points;
  }
  console.log(`  ${sum} sum`);
  if (sum !== output.score) throw new Error(`the points add up to ${sum}, the score is ${output.score}`);
  for (const { code, text } of reasons.reasons) console.log(`reason ${code}: ${text}`);
}

/** Pages through the scored customers of a market, highest probability first. */
async function listChurnRisks() {
  let customers = 0;
  let pages = 0;
  let pageToken = "";
  do {
    const page = await call(churn, "ListChurnRisks", { market: churnMarket, page_size: 100, page_token: pageToken });
    customers += page.churn_risks.length;
    pages += 1;
    pageToken = page.next_page_token;
  } while (pageToken);
  console.log(`list ${churnMarket}: ${customers} customers on ${pages} pages`);
}

/** Receives every customer of the newest run as Arrow. Without `compression` the batches are not compressed. */
async function exportChurnRisks() {
  let customers = 0;
  for await (const part of churn.ExportChurnRisks({ market: churnMarket })) {
    customers += tableFromIPC(part.arrow_stream).numRows;
  }
  console.log(`export ${churnMarket}: ${customers} customers`);
}

/** Sends an invalid request, and prints the details of the error. */
async function fail() {
  const error = await call(credit, "ScoreCredit", { request_id: "1" }).then(
    () => Promise.reject(new Error("the server accepted an invalid request")),
    (refused) => refused,
  );
  const [content] = error.metadata.get("grpc-status-details-bin");
  for (const { type_url: url, value } of definition["google.rpc.Status"].deserialize(content).details) {
    const detail = definition[url.split("/").at(-1)].deserialize(value);
    if (url.endsWith("ErrorInfo")) console.log(`error ${grpc.status[error.code]} ${detail.reason}`);
    for (const { field, description } of detail.field_violations ?? []) console.log(`  ${field}: ${description}`);
  }
}

await score();
await listChurnRisks();
await exportChurnRisks();
await fail();
