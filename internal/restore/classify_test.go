package restore

import (
	"fmt"
	"testing"
)

func TestClassify(t *testing.T) {
	for text, want := range map[string]string{
		"/*!40101 SET NAMES utf8mb4 */":     "setting SET ",
		"SET GLOBAL gtid_slave_pos='0-1-5'": "left SET GLOBAL ",
		"SET @@SESSION.SQL_LOG_BIN= 0":      "left SET SQL_LOG_BIN ",
		"USE `shop``s`":                     "useDB USE shop`s",
		"CREATE DATABASE /*!32312 IF NOT EXISTS*/ `app` /*!40100 DEFAULT CHARACTER SET latin1 */": "createDB DATABASE app make",
		"/*!40000 DROP DATABASE IF EXISTS `app`*/":                                                "left DATABASE app",
		"ALTER DATABASE `app` CHARACTER SET latin1 COLLATE latin1_swedish_ci":                     "alterDB DATABASE app",
		"DROP TABLE IF EXISTS `v`":                                                                "table TABLE v",
		"CREATE TABLE `a;b` (\n `id` int)":                                                        "table TABLE a;b make",
		"CREATE SEQUENCE `s` start with 1":                                                        "table SEQUENCE s make",
		"DO SETVAL(`seq`, 600, 0)":                                                                "table SETVAL seq",
		"SELECT SETVAL(`seq`, 600, 0)":                                                            "table SETVAL seq",
		"INSERT INTO `trigger` VALUES (1)":                                                        "table INSERT trigger",
		"INSERT  IGNORE INTO `a` VALUES (1)":                                                      "table INSERT a",
		"INSERT INTO `app`.`a` VALUES (1)":                                                        "other INSERT ",
		"CREATE TABLE `app`.`a` (id INT)":                                                         "other TABLE ",
		"/*!40000 ALTER TABLE `a` DISABLE KEYS */":                                                "table ALTER TABLE a",
		"LOCK TABLES `a` WRITE":                                                                   "left LOCK TABLES ",
		"UNLOCK TABLES":                                                                           "left UNLOCK TABLES ",
		"CHANGE MASTER TO MASTER_LOG_FILE='x'":                                                    "left CHANGE MASTER ",
		"START SLAVE":                                                                             "left START SLAVE ",
		"/*!50001 DROP VIEW IF EXISTS `v`*/":                                                      "object VIEW v",
		"/*!50001 CREATE VIEW `v` AS SELECT\n NULL AS `id` */":                                    "object VIEW v make",
		"/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`r`@`h` SQL SECURITY DEFINER */\n/*!50001 VIEW `v` AS select 1 */":  "object VIEW v make",
		"/*!50003 CREATE*/ /*!50017 DEFINER=`table`@`view`*/ /*!50003 TRIGGER t BEFORE INSERT ON orders FOR EACH ROW SET @a=1 */":     "object TRIGGER t make",
		"/*!50106 CREATE*/ /*!50117 DEFINER=`root`@`localhost`*/ /*!50106 EVENT `e` ON SCHEDULE EVERY 1 DAY DO DELETE FROM orders */": "object EVENT e make",
		"CREATE DEFINER=`root`@`localhost` FUNCTION `f`(n INT) RETURNS int(11) RETURN 1":                                              "object FUNCTION f make",
		"CREATE DEFINER=`root`@`localhost` AGGREGATE FUNCTION `f`(n INT) RETURNS int(11) RETURN 1":                                    "object FUNCTION f make",
		"CREATE DEFINER=`root`@`localhost` PACKAGE BODY `pack` AS END":                                                                "object PACKAGE pack make",
		"/*!50003 DROP PROCEDURE IF EXISTS `p` */":                                                                                    "object PROCEDURE p",
		"GRANT ALL ON *.* TO a":          "other GRANT ",
		"CREATE USER a":                  "other  ",
		"DELETE FROM a":                  "other DELETE ",
		"TRUNCATE a":                     "other TRUNCATE ",
		"SET character_set_client = gbk": "other SET ",
		"SET STATEMENT max_statement_time=1 FOR DROP TABLE x": "other SET STATEMENT ",
		"\\! rm": "other \\ ",
	} {
		p := classify([]byte(text))
		got := fmt.Sprintf("%s %s %s", [...]string{"other", "setting", "table", "object", "useDB", "createDB", "alterDB", "left"}[p.role], p.what, p.name)
		if p.make {
			got += " make"
		}
		if p.role == other && want[:5] == "other" && p.why != "" {
			continue
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
