// Calls a Grounds server: scores a customer, pages through a churn list, reads an export, and shows what an error carries.
//
// Arguments: [ADDRESS [MARKET CUSTOMER UNITS CURRENCY [CHURN_MARKET]]]
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	churnv1 "grounds.local/contract/churn/v1"
	creditv1 "grounds.local/contract/credit/v1"
	customerv1 "grounds.local/contract/customer/v1"
)

const deadline = 5 * time.Second

func main() {
	arguments := []string{"127.0.0.1:50051", "TW", "1", "120000", "TWD", "US"}
	copy(arguments, os.Args[1:])
	units, err := strconv.ParseInt(arguments[3], 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	options, err := dialOptions()
	if err != nil {
		log.Fatal(err)
	}
	connection, err := grpc.Dial(arguments[0], options...)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	credit, churn := creditv1.NewCreditServiceClient(connection), churnv1.NewChurnServiceClient(connection)
	customer := &customerv1.Customer{Market: arguments[1], CustomerId: arguments[2]}
	steps := []func() error{
		func() error { return score(credit, customer, &money.Money{CurrencyCode: arguments[4], Units: units}) },
		func() error { return listChurnRisks(churn, arguments[5]) },
		func() error { return exportChurnRisks(churn, arguments[5]) },
		func() error { return fail(credit) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			log.Fatal(err)
		}
	}
}

// score scores a customer and prints the points, which add up to the score, and the reasons.
func score(client creditv1.CreditServiceClient, customer *customerv1.Customer, amount *money.Money) error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	response, err := client.ScoreCredit(ctx, &creditv1.ScoreCreditRequest{
		RequestId:       uuid(), // a retry repeats it, and gets the same answer
		Customer:        customer,
		RequestedAmount: amount,
	})
	if err != nil {
		return err
	}
	assessment := response.CreditDecision.Assessment
	output, explanation := assessment.ModelOutput, assessment.Explanation
	decision := strings.TrimPrefix(response.CreditDecision.Decision.String(), "DECISION_")
	fmt.Printf("decision %s score %d grade %s pd %.4f\n", decision, output.Score, output.Grade, output.Pd)
	sum := explanation.GetBasePoints()
	fmt.Printf("  %d baseline\n", sum)
	for _, contribution := range explanation.Contributions {
		fmt.Printf("  %d %s\n", contribution.GetPoints(), contribution.Feature)
		sum += contribution.GetPoints()
	}
	fmt.Printf("  %d sum\n", sum)
	if sum != output.Score {
		return fmt.Errorf("the points add up to %d, the score is %d", sum, output.Score)
	}
	for _, reason := range assessment.Reasons.Reasons {
		fmt.Printf("reason %s: %s\n", reason.Code, reason.Text)
	}
	return nil
}

// listChurnRisks pages through the scored customers of a market, highest probability first.
func listChurnRisks(client churnv1.ChurnServiceClient, market string) error {
	customers, pages, token := 0, 0, ""
	for pages == 0 || token != "" {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		page, err := client.ListChurnRisks(ctx, &churnv1.ListChurnRisksRequest{
			Market: market, PageSize: 100, PageToken: token,
		})
		cancel()
		if err != nil {
			return err
		}
		customers, pages, token = customers+len(page.ChurnRisks), pages+1, page.NextPageToken
	}
	fmt.Printf("list %s: %d customers on %d pages\n", market, customers, pages)
	return nil
}

// exportChurnRisks receives every customer of the newest run as Arrow.
func exportChurnRisks(client churnv1.ChurnServiceClient, market string) error {
	stream, err := client.ExportChurnRisks(context.Background(), &churnv1.ExportChurnRisksRequest{Market: market})
	if err != nil {
		return err
	}
	customers := int64(0)
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			fmt.Printf("export %s: %d customers\n", market, customers)
			return nil
		}
		if err != nil {
			return err
		}
		customers += arrowRowCount(part.ArrowStream)
	}
}

// fail sends an invalid request, and prints the details of the error.
func fail(client creditv1.CreditServiceClient) error {
	_, err := client.ScoreCredit(context.Background(), &creditv1.ScoreCreditRequest{RequestId: "1"})
	failed := status.Convert(err)
	if failed.Code() == codes.OK {
		return errors.New("the server accepted an invalid request")
	}
	for _, detail := range failed.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			code := codeNames[failed.Code()]
			fmt.Printf("error %s %s\n", code, detail.Reason)
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				fmt.Printf("  %s: %s\n", violation.Field, violation.Description)
			}
		}
	}
	return nil
}

// codeNames has the names of the specification of gRPC for the code that this example provokes.
var codeNames = map[codes.Code]string{codes.InvalidArgument: "INVALID_ARGUMENT"}

// uuid returns a random UUID.
func uuid() string {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		log.Fatal(err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4, variant 1
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
