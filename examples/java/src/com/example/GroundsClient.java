package com.example;

import com.google.protobuf.Any;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.type.Money;
import com.grounds.churn.v1.ChurnServiceGrpc;
import com.grounds.churn.v1.ExportChurnRisksRequest;
import com.grounds.churn.v1.ListChurnRisksRequest;
import com.grounds.churn.v1.ListChurnRisksResponse;
import com.grounds.credit.v1.CreditDecision;
import com.grounds.credit.v1.CreditServiceGrpc;
import com.grounds.credit.v1.ModelOutput;
import com.grounds.credit.v1.ScoreCreditRequest;
import com.grounds.customer.v1.Customer;
import com.grounds.explain.v1.Contribution;
import com.grounds.explain.v1.Explanation;
import com.grounds.explain.v1.Reason;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.Locale;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/**
 * Calls a Grounds server: scores a customer, pages through a churn list, reads an export, and shows what an error carries.
 *
 * <p>Arguments: [ADDRESS [MARKET CUSTOMER UNITS CURRENCY [CHURN_MARKET]]]
 */
public final class GroundsClient {
  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);
  private static final long DEADLINE_SECONDS = 5;

  private final CreditServiceGrpc.CreditServiceBlockingStub credit;
  private final ChurnServiceGrpc.ChurnServiceBlockingStub churn;

  private GroundsClient(ManagedChannel channel) {
    credit = CreditServiceGrpc.newBlockingStub(channel);
    churn = ChurnServiceGrpc.newBlockingStub(channel);
  }

  public static void main(String[] arguments) throws Exception {
    String[] defaults = {"127.0.0.1:50051", "TW", "1", "120000", "TWD", "US"};
    System.arraycopy(arguments, 0, defaults, 0, Math.min(arguments.length, defaults.length));
    ManagedChannel channel = Channels.open(defaults[0]);
    try {
      GroundsClient client = new GroundsClient(channel);
      client.score(defaults[1], defaults[2], Long.parseLong(defaults[3]), defaults[4]);
      client.listChurnRisks(defaults[5]);
      client.exportChurnRisks(defaults[5]);
      client.fail();
    } finally {
      channel.shutdownNow().awaitTermination(DEADLINE_SECONDS, TimeUnit.SECONDS);
    }
  }

  /** Scores a customer and prints the points, which add up to the score, and the reasons. */
  private void score(String market, String customerId, long units, String currency) {
    ScoreCreditRequest request =
        ScoreCreditRequest.newBuilder()
            .setRequestId(UUID.randomUUID().toString()) // a retry repeats it, and gets the same answer
            .setCustomer(Customer.newBuilder().setMarket(market).setCustomerId(customerId))
            .setRequestedAmount(Money.newBuilder().setCurrencyCode(currency).setUnits(units))
            .build();
    CreditDecision decided =
        credit.withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS).scoreCredit(request).getCreditDecision();
    ModelOutput output = decided.getAssessment().getModelOutput();
    Explanation explanation = decided.getAssessment().getExplanation();
    String decision = decided.getDecision().name().replace("DECISION_", "");
    System.out.printf(
        Locale.ROOT,
        "decision %s score %d grade %s pd %.4f%n",
        decision,
        output.getScore(),
        output.getGrade(),
        output.getPd());
    int sum = explanation.getBasePoints();
    System.out.printf("  %d baseline%n", sum);
    for (Contribution contribution : explanation.getContributionsList()) {
      System.out.printf("  %d %s%n", contribution.getPoints(), contribution.getFeature());
      sum += contribution.getPoints();
    }
    System.out.printf("  %d sum%n", sum);
    if (sum != output.getScore()) {
      throw new IllegalStateException("the points add up to " + sum + ", the score is " + output.getScore());
    }
    for (Reason reason : decided.getAssessment().getReasons().getReasonsList()) {
      System.out.printf("reason %s: %s%n", reason.getCode(), reason.getText());
    }
  }

  /** Pages through the scored customers of a market, highest probability first. */
  private void listChurnRisks(String market) {
    int customers = 0;
    int pages = 0;
    String pageToken = "";
    do {
      ListChurnRisksResponse page =
          churn
              .withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS)
              .listChurnRisks(
                  ListChurnRisksRequest.newBuilder()
                      .setMarket(market)
                      .setPageSize(100)
                      .setPageToken(pageToken)
                      .build());
      customers += page.getChurnRisksCount();
      pages += 1;
      pageToken = page.getNextPageToken();
    } while (!pageToken.isEmpty());
    System.out.printf("list %s: %d customers on %d pages%n", market, customers, pages);
  }

  /** Receives every customer of the newest run as Arrow. */
  private void exportChurnRisks(String market) {
    long[] customers = {0};
    churn
        .exportChurnRisks(ExportChurnRisksRequest.newBuilder().setMarket(market).build())
        .forEachRemaining(part -> customers[0] += ArrowStream.rowCount(part.getArrowStream().asReadOnlyByteBuffer()));
    System.out.printf("export %s: %d customers%n", market, customers[0]);
  }

  /** Sends an invalid request, and prints the details of the error. */
  private void fail() throws Exception {
    try {
      credit.scoreCredit(ScoreCreditRequest.newBuilder().setRequestId("1").build());
    } catch (StatusRuntimeException error) {
      Status.Code code = error.getStatus().getCode();
      for (Any detail : com.google.rpc.Status.parseFrom(error.getTrailers().get(DETAILS)).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          System.out.printf("error %s %s%n", code, detail.unpack(ErrorInfo.class).getReason());
        } else if (detail.is(BadRequest.class)) {
          for (BadRequest.FieldViolation violation : detail.unpack(BadRequest.class).getFieldViolationsList()) {
            System.out.printf("  %s: %s%n", violation.getField(), violation.getDescription());
          }
        }
      }
      return;
    }
    throw new IllegalStateException("the server accepted an invalid request");
  }
}
