package awsfake

import (
	"encoding/xml"
	"net/url"
	"strings"
	"time"
)

func formValue(body []byte, key string) string {
	v, err := url.ParseQuery(string(body))
	if err != nil {
		return ""
	}
	return v.Get(key)
}

type getCallerIdentityResponse struct {
	XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	Arn     string   `xml:"GetCallerIdentityResult>Arn"`
	UserID  string   `xml:"GetCallerIdentityResult>UserId"`
	Account string   `xml:"GetCallerIdentityResult>Account"`
	Request string   `xml:"ResponseMetadata>RequestId"`
}

type assumeRoleResponse struct {
	XMLName    xml.Name  `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
	Key        string    `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
	Secret     string    `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
	Token      string    `xml:"AssumeRoleResult>Credentials>SessionToken"`
	Expiration time.Time `xml:"AssumeRoleResult>Credentials>Expiration"`
	Arn        string    `xml:"AssumeRoleResult>AssumedRoleUser>Arn"`
	UserID     string    `xml:"AssumeRoleResult>AssumedRoleUser>AssumedRoleId"`
	Request    string    `xml:"ResponseMetadata>RequestId"`
}

// tokenOf begins the session token of a role.
const tokenOf = "session"

// stsCall answers GetCallerIdentity and AssumeRole. The session token carries the role and the session's name, so that the record of
// calls can tell sessions apart, and whose key took the role on: the record names that one.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func stsCall(q *request) (any, error) {
	switch q.op {
	case "GetCallerIdentity":
		return getCallerIdentityResponse{Arn: q.call.identity(), UserID: q.call.AccessKey, Account: AccountID, Request: id(16)}, nil
	case "AssumeRole":
		role, session := formValue(q.body, "RoleArn"), formValue(q.body, "RoleSessionName")
		name := role[strings.LastIndexByte(role, '/')+1:] // its path is no part of the identity of who has taken it on
		if name == "" || session == "" {
			return nil, badRequest("ValidationError", "RoleArn and RoleSessionName are required")
		}
		return assumeRoleResponse{Key: "ASIA" + id(8), Secret: id(20), Token: strings.Join([]string{tokenOf, name, session, q.call.AccessKey}, "/"),
			Expiration: time.Now().Add(time.Hour).UTC().Truncate(time.Second), Arn: (&Call{Role: name, Session: session}).identity(), UserID: "AROA:" + session, Request: id(16)}, nil
	}
	return nil, badRequest("InvalidAction", "The action %q is not valid for this web service.", q.op)
}
